package main

import (
	"fmt"
	"go/ast"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Types whose JSON form is not that of their fields.
var scalars = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":        "duration",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":            "text",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":        "quantity",
	"k8s.io/apimachinery/pkg/api/resource.QuantityValue":   "quantity",
	"k8s.io/component-base/logs/api/v1.TimeOrMetaDuration": "any", // a duration, or nanoseconds
	"k8s.io/apimachinery/pkg/runtime.RawExtension":         "any",
	"time.Duration": "int", // of nanoseconds, as encoding/json has it
}

// fields walks the object a component is configured by.
func (s *source) fields(of component) ([]setting, error) {
	path, name, _ := cutLast(of.object, ".")
	walk := &walker{source: s, component: of.name}
	p, err := s.load(path)
	if err != nil {
		return nil, err
	}
	spec := p.types[name]
	if spec == nil {
		return nil, fmt.Errorf("there is no %s", of.object)
	}
	object, isStruct := spec.Type.(*ast.StructType)
	if !isStruct {
		return nil, fmt.Errorf("%s is no struct", of.object)
	}
	err = walk.object(place{}, path, spec, object)
	return walk.found, err
}

// place is where a field stands, by its names in JSON and in Go.
type place struct{ name, goName string }

func (p place) below(name, goName string) place { return place{p.name + name, p.goName + goName} }

type walker struct {
	source    *source
	component string
	found     []setting
}

// object adds what a struct holds; `spec` is the type it stands in, which knows its imports.
func (w *walker) object(at place, path string, spec *ast.TypeSpec, object *ast.StructType) error {
	for _, field := range object.Fields.List {
		tag := ""
		if field.Tag != nil {
			text, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				return err
			}
			tag = reflect.StructTag(text).Get("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		isInline := strings.Contains(options, "inline") || (len(field.Names) == 0 && name == "")
		if name == "" && !isInline {
			if len(field.Names) != 1 {
				return fmt.Errorf("%s.%s: a field without a name", path, spec.Name.Name)
			}
			name = field.Names[0].Name
		}
		if isInline {
			if err := w.inline(at, path, spec, field.Type); err != nil {
				return err
			}
			continue
		}
		if err := w.field(at.below(name, goName(field)), path, spec, field); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) inline(at place, path string, spec *ast.TypeSpec, written ast.Expr) error {
	below, from, object, err := w.named(path, spec, written)
	if err != nil {
		return err
	}
	if object == nil {
		return fmt.Errorf("%s.%s: what is inlined is no struct", path, spec.Name.Name)
	}
	return w.object(at, from, below, object)
}

func (w *walker) field(at place, path string, spec *ast.TypeSpec, field *ast.Field) error {
	index := len(w.found)
	w.found = append(w.found, setting{
		component: w.component, sort: "field", name: at.name, goName: at.goName, isDeprecated: isDeprecated(field),
	})
	kind, err := w.kind(at, path, spec, field.Type)
	w.found[index].kind = kind
	return err
}

func goName(field *ast.Field) string {
	if len(field.Names) == 0 {
		return ""
	}
	return field.Names[0].Name
}

// kind says what a field holds, and adds the fields below it.
func (w *walker) kind(at place, path string, spec *ast.TypeSpec, written ast.Expr) (string, error) {
	switch written := written.(type) {
	case *ast.StarExpr:
		return w.kind(at, path, spec, written.X)
	case *ast.ArrayType:
		if element, isName := written.Elt.(*ast.Ident); isName && element.Name == "byte" {
			return "text", nil
		}
		below, err := w.kind(at.below("[]", "[]"), path, spec, written.Elt)
		return "[]" + below, err
	case *ast.MapType:
		below, err := w.kind(at.below("{}", "{}"), path, spec, written.Value)
		return "{}" + below, err
	case *ast.StructType:
		return "object", w.object(at.below(".", "."), path, spec, written)
	case *ast.InterfaceType:
		return "any", nil
	case *ast.Ident:
		if kind := basic(written.Name); kind != "" {
			return kind, nil
		}
	}
	if selector, isSelector := written.(*ast.SelectorExpr); isSelector {
		if kind := scalars[w.source.packages[path].imports[spec][fmt.Sprint(selector.X)]+"."+selector.Sel.Name]; kind != "" {
			return kind, nil
		}
	}
	below, from, object, err := w.named(path, spec, written)
	if err != nil {
		return "", fmt.Errorf("%s: %w", at.name, err)
	}
	if kind := scalars[from+"."+below.Name.Name]; kind != "" {
		return kind, nil
	}
	if object == nil {
		return w.kind(at, from, below, below.Type)
	}
	return "object", w.object(at.below(".", "."), from, below, object)
}

// named finds the type that is written, which package it is in, and its fields where it is a struct.
func (w *walker) named(path string, spec *ast.TypeSpec, written ast.Expr) (*ast.TypeSpec, string, *ast.StructType, error) {
	here, err := w.source.load(path)
	if err != nil {
		return nil, "", nil, err
	}
	name := ""
	switch written := written.(type) {
	case *ast.StarExpr:
		return w.named(path, spec, written.X)
	case *ast.Ident:
		name = written.Name
	case *ast.SelectorExpr:
		from, _ := written.X.(*ast.Ident)
		path, name = here.imports[spec][from.Name], written.Sel.Name
	default:
		return nil, "", nil, fmt.Errorf("%s: %T is not understood", path, written)
	}
	there, err := w.source.load(path)
	if err != nil {
		return nil, "", nil, err
	}
	found := there.types[name]
	if found == nil {
		return nil, "", nil, fmt.Errorf("%s has no type %s", path, name)
	}
	object, _ := found.Type.(*ast.StructType)
	return found, path, object, nil
}

func basic(name string) string {
	switch name {
	case "bool":
		return "bool"
	case "string":
		return "text"
	case "float32", "float64":
		return "float"
	case "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64":
		return "int"
	}
	return ""
}

// Only where a comment's own sentence begins so: many a comment speaks of something else that is deprecated.
var deprecated = regexp.MustCompile(`(?m)^\s*(DEPRECATED|Deprecated)\b`)

func isDeprecated(field *ast.Field) bool {
	return field.Doc != nil && deprecated.MatchString(field.Doc.Text())
}

func cutLast(text, separator string) (string, string, bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}
