//go:build programs

// What is built of this version: named here, so that `go mod tidy` keeps what the two stand on.
package programs

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
