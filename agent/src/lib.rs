//! kn-agent: makes a Linux machine a Kubernetes node, keeps it one, and says what is in the way.
