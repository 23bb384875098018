//! A pod and a Service on a node: what a Ready node is for.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{ControlPlane, DEMO_IMAGE, Kubectl, Node, progress::detail, wait_until};

const LIMIT: Duration = Duration::from_mins(1);

const MANIFEST: &str = "apiVersion: v1
kind: Pod
metadata: {name: hello, labels: {app: hello}}
spec:
  nodeSelector: {kubernetes.io/hostname: @NODE@}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
  - name: httpd
    image: @IMAGE@
    imagePullPolicy: Never
    command: [/bin/sh, -c, 'echo \"hello from $(hostname) on @NODE@\" > /www/index.html; exec httpd -f -p 80 -h /www']
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{port: 80}]
";

/// Fetches `$1` in the network of the pod of [`prove`].
const WITHIN: &str = "pid=$(pgrep --full --oldest '^httpd -f -p 80')
exec nsenter --target \"${pid:?no such process}\" --net curl --silent --fail --max-time 5 \"$1\"";

/// Runs the pod on `node`, checks its address against the node's podCIDR, and fetches its page through the Service.
pub fn prove(control_plane: &ControlPlane, node: &Node) -> Result<()> {
    let kubectl = control_plane.kubectl()?;
    // The controller-manager makes it; a pod before that is refused.
    wait_until("the default service account", LIMIT, || {
        Ok(kubectl.run(&["get", "serviceaccount", "default"]).ok())
    })?;
    kubectl.apply(&MANIFEST.replace("@NODE@", node.name()).replace("@IMAGE@", DEMO_IMAGE))?;
    let log = control_plane.run().subdirectory("log")?.join("watch.log");
    let ready = kubectl.watch("pod/hello", "condition=Ready", LIMIT, &log)?.met();
    ready.with_context(|| kubectl.run(&["describe", "pod", "hello"]).unwrap_or_default())?;

    let pod = kubectl.get(&["pod", "hello"])?;
    let object = kubectl.get(&["node", node.name()])?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (address, subnet) = (text(&pod["status"]["podIP"]), text(&object["spec"]["podCIDR"]));
    ensure!(contains(&subnet, &address), "the pod's address {address} is not of the node's podCIDR {subnet}");
    detail(format_args!("pod {address}, of the node's podCIDR {subnet}"));

    let service = cluster_ip(&kubectl)?;
    let page = wait_until("an answer through the Service", LIMIT, || {
        let curl = ["curl", "--silent", "--fail", "--max-time", "2", &format!("http://{service}/")];
        let output = node.try_exec(&curl)?;
        Ok(output.status.success().then_some(output.stdout))
    })?;
    ensure!(page.starts_with("hello from hello on"), "the Service answers {page:?}");
    detail(format_args!("http://{service}/ (the Service) answers: {}", page.trim()));
    Ok(())
}

fn cluster_ip(kubectl: &Kubectl) -> Result<String> {
    kubectl.run(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}"])
}

/// Executes a program in the pod of [`prove`] on `node`, and reads its log: both go through the API server to the kubelet, which
/// serves with a certificate that was asked for when it started.
pub fn prove_reachable(control_plane: &ControlPlane, node: &Node) -> Result<()> {
    let kubectl = control_plane.kubectl()?;
    let mut last = String::new();
    let page = wait_until("kubectl exec", LIMIT, || {
        match kubectl.run(&["exec", "hello", "--", "cat", "/www/index.html"]) {
            Ok(page) => Ok(Some(page)),
            Err(error) => {
                last = format!("{error:#}");
                Ok(None)
            }
        }
    });
    let page = page.with_context(|| last.clone())?;
    ensure!(page.starts_with("hello from hello on"), "kubectl exec brought {page:?}");
    kubectl.run(&["logs", "hello"])?;
    detail("kubectl exec and logs reach the pod");
    // With the node's curl in the pod's network: the image's own wget, linked statically, ends in the C library's look-up of
    // names where that is Debian 12's.
    let own = node.sh(WITHIN, &[&format!("http://{}/", cluster_ip(&kubectl)?)])?;
    ensure!(own == page, "the pod's Service answers the pod {own:?}");
    detail("the pod reaches itself through its Service");
    Ok(())
}

/// Whether an IPv4 subnet such as `10.244.0.0/24` holds an address.
fn contains(subnet: &str, address: &str) -> bool {
    let Some((network, bits)) = subnet.split_once('/') else { return false };
    let (Ok(network), Ok(address)) = (network.parse::<Ipv4Addr>(), address.parse::<Ipv4Addr>()) else {
        return false;
    };
    let shift = 32_u32.saturating_sub(bits.parse().unwrap_or(32));
    let prefix = |address: Ipv4Addr| u64::from(address.to_bits()) >> shift;
    prefix(network) == prefix(address)
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn subnet_contains_its_addresses_only() {
        assert!(contains("10.244.3.0/24", "10.244.3.9"));
        assert!(contains("0.0.0.0/0", "10.244.3.9"));
        assert!(!contains("10.244.3.0/24", "10.244.4.9"));
        assert!(!contains("10.244.3.0/24", ""));
        assert!(!contains("", "10.244.3.9"));
    }
}
