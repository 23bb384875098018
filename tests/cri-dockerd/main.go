// cri-dockerd as its own repository builds it, pinned by this folder's go.mod and go.sum: kubelets from 1.24 on speak
// to docker through it.
package main

import (
	"fmt"
	"os"

	"github.com/Mirantis/cri-dockerd/cmd"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/logs"
)

func main() {
	command := cmd.NewDockerCRICommand(server.SetupSignalHandler())
	logs.InitLogs()
	defer logs.FlushLogs()

	if err := command.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
