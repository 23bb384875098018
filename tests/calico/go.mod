// calico's repository, for the manifests of its release 3.28.5. Its programs can't be built this way: they need
// github.com/projectcalico/api, which is a part of it that the proxy does not have.
module kn-agent.io/tests/calico

go 1.26.6

require github.com/projectcalico/calico v1.11.0-cni-plugin.0.20250813170300-a0db560f0520
