// The settings of kubelet and kube-proxy in every minor version the agent supports, read from Kubernetes' own source: the
// fields of their configuration objects from the modules that publish these, the flags from the calls that register them.
// Nothing is executed and nothing is written down here a second time. The output is agent/src/desired/versions/settings.tsv.
package main

import (
	"bufio"
	"fmt"
	"os"
)

// The last release of each minor version. A field or flag that a patch release brought is told of the whole minor.
var releases = []string{
	"20.15", "21.14", "22.17", "23.17", "24.17", "25.16", "26.15", "27.16", "28.15", "29.15", "30.14", "31.14", "32.13",
	"33.13", "34.4", "35.4", "36.3",
}

// Where the Go module proxy has kube-proxy's types at another patch release only: a released version's types stay.
var proxyReleases = map[string]string{"25.16": "25.0", "26.15": "26.0", "31.14": "31.11"}

const head = `# What kubelet and kube-proxy know, written from Kubernetes' source by tests/kubernetes/settings: do not edit.
# component, sort, name, kind, first minor version, last one, deprecated from, the field that a flag sets,
# what the component says of the deprecation
`

func main() {
	var all table
	for _, release := range releases {
		if err := all.add(release); err != nil {
			fmt.Fprintf(os.Stderr, "settings: 1.%s: %v\n", release, err)
			os.Exit(1)
		}
	}
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprint(out, head)
	all.write(out)
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "settings:", err)
		os.Exit(1)
	}
}

// add reads one release.
func (t *table) add(release string) error {
	var minor int
	if _, err := fmt.Sscanf(release, "%d.", &minor); err != nil {
		return err
	}
	source, err := download(minor, release)
	if err != nil {
		return err
	}
	for _, component := range components {
		fields, err := source.fields(component)
		if err != nil {
			return fmt.Errorf("%s: %w", component.name, err)
		}
		flags, err := source.flags(component, fields)
		if err != nil {
			return fmt.Errorf("%s: %w", component.name, err)
		}
		for _, setting := range append(fields, flags...) {
			t.insert(minor, setting)
		}
	}
	return nil
}

// A component, the object it is configured by, and the files that register its flags.
type component struct {
	name, object, folder string
	files                []string
	// deprecatedIn is the function all of whose flags are deprecated for the sake of the object's fields.
	deprecatedIn string
}

var components = []component{
	{
		name: "kubelet", object: "k8s.io/kubelet/config/v1beta1.KubeletConfiguration",
		folder: "cmd/kubelet/app/options",
		files: []string{
			"options.go", "container_runtime.go", "globalflags.go", "globalflags_linux.go", "globalflags_providers.go",
			"../../../../pkg/kubelet/config/flags.go",
		},
		deprecatedIn: "AddKubeletConfigFlags",
	},
	{
		name: "kube-proxy", object: "k8s.io/kube-proxy/config/v1alpha1.KubeProxyConfiguration",
		folder: "cmd/kube-proxy/app", files: []string{"server.go", "options.go"},
	},
}
