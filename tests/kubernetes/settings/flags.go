package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	logsAPI = "k8s.io/component-base/logs/api/v1"
	logs    = "k8s.io/component-base/logs"
)

// Of klog's own flags only these are left from 1.26 on, and the others deprecated from 1.23 on (KEP-2845).
const (
	klogDeprecated = 23
	klogRemoved    = 26
)

// flags reads the calls that register a component's flags.
func (s *source) flags(of component, fields []setting) ([]setting, error) {
	found := flagsFound{
		component: of.name, fields: fields, flags: map[string]setting{}, excepted: map[string]bool{},
	}
	folder := filepath.Join(s.folders["k8s.io/kubernetes"], of.folder)
	usesLogsAPI, usesLogs := false, false
	for _, name := range of.files {
		file, err := parse(filepath.Join(folder, name))
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		found.read(file, func(function string) bool { return function == of.deprecatedIn }, nil)
		calls := callsOf(file)
		usesLogsAPI = usesLogsAPI || calls[logsAPI+".AddFlags"]
		usesLogs = usesLogs || calls[logs+".BindLoggingFlags"]
	}
	// The flags of the logging configuration are those of the function that the component calls with it.
	for path, is := range map[string]bool{logsAPI: usesLogsAPI, logs: usesLogs} {
		if !is {
			continue
		}
		if err := found.ofPackage(s, path, of.deprecatedIn != ""); err != nil {
			return nil, err
		}
	}
	if err := found.klog(s); err != nil {
		return nil, err
	}
	// Registered by pflag, verflag and component-base/logs themselves.
	for name, kind := range map[string]string{"help": "bool", "version": "text", "log-flush-frequency": "duration"} {
		if _, known := found.flags[name]; !known {
			found.add(name, kind, "", false)
		}
	}
	var all []setting
	for _, one := range found.flags {
		all = append(all, one)
	}
	return all, nil
}

type flagsFound struct {
	component string
	fields    []setting
	flags     map[string]setting
	// excepted from the deprecation of the function that is deprecated as a whole.
	excepted map[string]bool
}

func (f *flagsFound) add(name, kind, field string, isDeprecated bool) {
	if name == "" {
		return // one of the functions that register what their caller names
	}
	name = strings.ReplaceAll(name, "_", "-")
	f.flags[name] = setting{
		component: f.component, sort: "flag", name: name, kind: kind, field: field, isDeprecated: isDeprecated,
	}
}

// ofPackage reads the logging flags: of a function that gets nothing but them.
func (f *flagsFound) ofPackage(s *source, path string, areDeprecated bool) error {
	folder, err := s.folder(path)
	if err != nil {
		return err
	}
	p, err := s.load(path)
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		// Beside the flags of the configuration, logs.go has those of programs without one.
		if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == "logs.go" {
			continue
		}
		file, err := parse(name)
		if err != nil {
			return err
		}
		f.read(file, func(function string) bool {
			return areDeprecated && slices.Contains([]string{"addFlags", "AddFlags", "BindLoggingFlags"}, function)
		}, p.constants)
	}
	return nil
}

// Method of a flag set → what its flag takes.
var kinds = map[string]string{
	"Bool": "bool", "String": "text", "StringSlice": "text", "Duration": "duration", "Int": "int", "Int32": "int",
	"Int64": "int", "Uint": "int", "Uint64": "int", "Float32": "float", "Float64": "float", "": "text",
}

var registers = regexp.MustCompile(`^(|Bool|String|StringSlice|Duration|Int|Int32|Int64|Uint|Uint64|Float32|Float64)Var(P?)$`)

// read adds what one file registers. Flags of a function that is deprecated as a whole are so but for those it excepts.
func (f *flagsFound) read(file *ast.File, areDeprecated func(string) bool, constants map[string]string) {
	for _, declaration := range file.Decls {
		function, isFunction := declaration.(*ast.FuncDecl)
		if !isFunction || function.Body == nil {
			continue
		}
		isDeprecated := areDeprecated(function.Name.Name)
		if isDeprecated {
			f.except(function)
		}
		ast.Inspect(function.Body, func(node ast.Node) bool {
			if call, isCall := node.(*ast.CallExpr); isCall {
				f.call(call, isDeprecated, constants)
			}
			return true
		})
	}
}

func (f *flagsFound) call(call *ast.CallExpr, isDeprecated bool, constants map[string]string) {
	text := func(i int) string {
		if i >= len(call.Args) {
			return ""
		}
		if joined, isJoined := call.Args[i].(*ast.BinaryExpr); isJoined {
			left, _ := literal(joined.X)
			right, _ := literal(joined.Y)
			return left + right
		}
		if name, isName := call.Args[i].(*ast.Ident); isName {
			return constants[name.Name]
		}
		found, _ := literal(call.Args[i])
		return found
	}
	switch function := call.Fun.(type) {
	case *ast.Ident:
		// How the kubelet takes over what a library has registered for itself.
		switch function.Name {
		case "register", "pflagRegister":
			f.add(text(2), "text", "", false)
		case "registerDeprecated":
			f.add(text(2), "text", "", true)
		}
	case *ast.SelectorExpr:
		if function.Sel.Name == "MarkDeprecated" {
			if one, known := f.flags[text(0)]; known {
				one.isDeprecated, one.text = true, strings.Join(strings.Fields(text(1)), " ")
				f.flags[text(0)] = one
			}
			return
		}
		if from, isName := function.X.(*ast.Ident); isName && from.Name == "fs" && len(call.Args) == 3 {
			// A flag that is read by nobody any more has no variable.
			if kind := kinds[function.Sel.Name]; kind != "" {
				f.add(text(0), kind, "", false)
			}
		}
		matched := registers.FindStringSubmatch(function.Sel.Name)
		if name := text(1); matched != nil && name != "" && len(call.Args) >= 3 {
			f.add(name, kinds[matched[1]], f.field(call.Args[0]), isDeprecated && !f.excepted[name])
		}
	}
}

// except notes the keys of a map named notDeprecated.
func (f *flagsFound) except(function *ast.FuncDecl) {
	ast.Inspect(function.Body, func(node ast.Node) bool {
		assignment, isAssignment := node.(*ast.AssignStmt)
		if !isAssignment || len(assignment.Lhs) != 1 || len(assignment.Rhs) != 1 {
			return true
		}
		name, isName := assignment.Lhs[0].(*ast.Ident)
		entries, isMap := assignment.Rhs[0].(*ast.CompositeLit)
		if isName && name.Name == "notDeprecated" && isMap {
			for _, entry := range entries.Elts {
				if pair, isPair := entry.(*ast.KeyValueExpr); isPair {
					key, _ := literal(pair.Key)
					f.excepted[key] = true
				}
			}
		}
		return true
	})
}

// field is the one whose Go names the first argument selects: `&c.Authentication.Anonymous.Enabled` is
// `authentication.anonymous.enabled`. Empty where the variable is no part of the configuration object.
func (f *flagsFound) field(target ast.Expr) string {
	var names []string
	ast.Inspect(target, func(node ast.Node) bool {
		selector, isSelector := node.(*ast.SelectorExpr)
		if !isSelector || names != nil {
			return true
		}
		for expression := ast.Expr(selector); ; {
			step, isStep := expression.(*ast.SelectorExpr)
			if !isStep {
				// The options' own variables are `f.…` and `o.…`; the object is `c` or `o.config`.
				if root, isName := expression.(*ast.Ident); !isName || root.Name != "c" {
					if len(names) == 0 || names[0] != "config" {
						names = nil
						return true
					}
					names = names[1:]
				}
				return false
			}
			names = append([]string{step.Sel.Name}, names...)
			expression = step.X
		}
	})
	if len(names) > 0 && names[len(names)-1] == "Duration" {
		names = names[:len(names)-1]
	}
	wanted := strings.Join(names, ".")
	for _, field := range f.fields {
		for _, prefix := range []string{"", "Logging."} {
			if wanted != "" && field.goName == prefix+wanted {
				return field.name
			}
		}
	}
	return ""
}

// klog reads the flags of the version of klog that Kubernetes requires.
func (f *flagsFound) klog(s *source) error {
	gomod, err := os.ReadFile(filepath.Join(s.folders["k8s.io/kubernetes"], "go.mod"))
	if err != nil {
		return err
	}
	required := regexp.MustCompile(`(?m)^\s*k8s\.io/klog/v2 (v\S+)`).FindSubmatch(gomod)
	if required == nil {
		return fmt.Errorf("Kubernetes requires no klog")
	}
	command := exec.Command("go", "mod", "download", "-json", "k8s.io/klog/v2@"+string(required[1]))
	command.Dir, command.Env = os.TempDir(), append(os.Environ(), "GOWORK=off", "GOFLAGS=-modcacherw")
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("klog: %w", err)
	}
	folder := regexp.MustCompile(`"Dir": "(.*)"`).FindSubmatch(out)
	if folder == nil {
		return fmt.Errorf("klog was not downloaded: %s", out)
	}
	file, err := parse(filepath.Join(string(folder[1]), "klog.go"))
	if err != nil {
		return err
	}
	own := flagsFound{component: f.component, flags: map[string]setting{}}
	own.read(file, func(string) bool { return false }, nil)
	if len(own.flags) < 5 {
		return fmt.Errorf("klog registers %d flags only", len(own.flags))
	}
	for name, flag := range own.flags {
		isKept := name == "v" || name == "vmodule"
		if _, known := f.flags[name]; known || (!isKept && s.minor >= klogRemoved) {
			continue
		}
		flag.isDeprecated = !isKept && s.minor >= klogDeprecated
		f.flags[name] = flag
	}
	return nil
}

// callsOf names the functions of other packages that a file calls, by import path.
func callsOf(file *ast.File) map[string]bool {
	imports, calls := importsOf(file), map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		if call, isCall := node.(*ast.CallExpr); isCall {
			if selector, isSelector := call.Fun.(*ast.SelectorExpr); isSelector {
				if from, isName := selector.X.(*ast.Ident); isName {
					calls[imports[from.Name]+"."+selector.Sel.Name] = true
				}
			}
		}
		return true
	})
	return calls
}

func parse(path string) (*ast.File, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
}

func literal(expression ast.Expr) (string, bool) {
	basic, isBasic := expression.(*ast.BasicLit)
	if !isBasic || basic.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(basic.Value)
	return text, err == nil
}
