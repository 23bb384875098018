package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is Kubernetes' source in one version.
type source struct {
	minor    int
	folders  map[string]string // of a module's path
	packages map[string]*pkg
}

// pkg is a package as far as it matters here.
type pkg struct {
	types     map[string]*ast.TypeSpec
	constants map[string]string
	imports   map[*ast.TypeSpec]map[string]string // what the file of a type imports, by name
}

var modules = []string{"api", "apimachinery", "component-base", "kube-proxy", "kubelet"}

// download gets the modules that hold types, at v0, and Kubernetes itself, at v1; Go verifies their checksums.
func download(minor int, release string) (*source, error) {
	wanted := []string{"mod", "download", "-json", "k8s.io/kubernetes@v1." + release}
	for _, module := range modules {
		at := release
		if other := proxyReleases[release]; module == "kube-proxy" && other != "" {
			at = other
		}
		wanted = append(wanted, "k8s.io/"+module+"@v0."+at)
	}
	command := exec.Command("go", wanted...)
	command.Dir = os.TempDir() // no module there: nobody's go.mod has a say
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-modcacherw")
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s%s", strings.Join(wanted, " "), err, &failure, out)
	}
	made := &source{minor: minor, folders: map[string]string{}, packages: map[string]*pkg{}}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var module struct{ Path, Dir, Error string }
		if err := decoder.Decode(&module); errors.Is(err, io.EOF) {
			return made, nil
		} else if err != nil {
			return nil, err
		}
		if module.Dir == "" {
			return nil, fmt.Errorf("%s: %s", module.Path, module.Error)
		}
		made.folders[module.Path] = module.Dir
	}
}

// folder is where the package with this import path is.
func (s *source) folder(path string) (string, error) {
	for module, folder := range s.folders {
		if rest, found := strings.CutPrefix(path, module); found && (rest == "" || rest[0] == '/') {
			return filepath.Join(folder, rest), nil
		}
	}
	return "", fmt.Errorf("%s is in none of the modules", path)
}

// load parses the package with this import path.
func (s *source) load(path string) (*pkg, error) {
	if known := s.packages[path]; known != nil {
		return known, nil
	}
	folder, err := s.folder(path)
	if err != nil {
		return nil, err
	}
	isSource := func(info fs.FileInfo) bool {
		name := info.Name()
		return !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "zz_generated")
	}
	parsed, err := parser.ParseDir(token.NewFileSet(), folder, isSource, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	made := &pkg{
		types: map[string]*ast.TypeSpec{}, constants: map[string]string{},
		imports: map[*ast.TypeSpec]map[string]string{},
	}
	for _, one := range parsed {
		for _, file := range one.Files {
			made.read(file)
		}
	}
	s.packages[path] = made
	return made, nil
}

func (p *pkg) read(file *ast.File) {
	imports := importsOf(file)
	for _, declaration := range file.Decls {
		general, isGeneral := declaration.(*ast.GenDecl)
		if !isGeneral {
			continue
		}
		for _, spec := range general.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				p.types[spec.Name.Name] = spec
				p.imports[spec] = imports
			case *ast.ValueSpec:
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						if text, isText := literal(spec.Values[i]); isText {
							p.constants[name.Name] = text
						}
					}
				}
			}
		}
	}
}

func importsOf(file *ast.File) map[string]string {
	imports := map[string]string{}
	for _, one := range file.Imports {
		path := strings.Trim(one.Path.Value, `"`)
		name := filepath.Base(path)
		if one.Name != nil {
			name = one.Name.Name
		}
		imports[name] = path
	}
	return imports
}
