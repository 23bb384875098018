//! The components' command lines: how each is started, and asked whether it is well.

use std::{process::Command, time::Duration};

use anyhow::Result;

use super::{Component, ControlPlane, Ports};
use crate::{Minor, packages};

impl ControlPlane {
    /// Asks a part for its health. The API server has to prove who it is; the others' certificates are their own.
    pub(super) fn health_check(&self, component: Component) -> Command {
        let (loopback, ports) = (self.run.loopback_address(), &self.ports);
        let url = match component {
            Component::Etcd => format!("http://{loopback}:{}/health", ports.etcd),
            Component::ApiServer => format!("{}/readyz", self.server()),
            Component::ControllerManager => {
                format!("https://{loopback}:{}/healthz", ports.controller_manager)
            }
            Component::Scheduler => format!("https://{loopback}:{}/healthz", ports.scheduler),
        };
        let mut command = Command::new("curl");
        command.args(["--silent", "--fail", "--max-time", "2", "--output", "/dev/null"]);
        if component == Component::ApiServer {
            command.arg("--cacert").arg(self.ca());
        } else {
            command.arg("--insecure");
        }
        command.arg(url);
        command
    }

    pub(super) fn command(&self, component: Component) -> Result<Command> {
        let program = match component {
            Component::Etcd => packages::etcd()?,
            other => self.kubernetes.program(other.name())?,
        };
        let mut command = Command::new(program);
        command.args(match component {
            Component::Etcd => self.etcd_arguments(),
            Component::ApiServer => self.api_server_arguments(),
            Component::ControllerManager => self.controller_manager_arguments(),
            Component::Scheduler => self.client_arguments(component, self.ports.scheduler),
        });
        Ok(command)
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let (loopback, Ports { etcd, etcd_peer, .. }) = (self.run.loopback_address(), &self.ports);
        let data = self.run.directory().join("etcd");
        vec![
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls=http://{loopback}:{etcd}"),
            format!("--advertise-client-urls=http://{loopback}:{etcd}"),
            format!("--listen-peer-urls=http://{loopback}:{etcd_peer}"),
            format!("--initial-advertise-peer-urls=http://{loopback}:{etcd_peer}"),
            format!("--initial-cluster=default=http://{loopback}:{etcd_peer}"),
            // A lab's store need not survive a power cut.
            "--unsafe-no-fsync=true".to_owned(),
        ]
    }

    fn api_server_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.pki.path(name).display().to_string();
        let (host, loopback) = (self.run.host_address(), self.run.loopback_address());
        vec![
            format!("--etcd-servers=http://{loopback}:{}", self.ports.etcd),
            format!("--secure-port={}", self.ports.api_server),
            format!("--bind-address={host}"),
            format!("--advertise-address={host}"),
            format!("--tls-cert-file={}", file("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", file("kube-apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={}", Self::SERVICE_CIDR),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--enable-bootstrap-token-auth=true".to_owned(),
            format!("--token-auth-file={}", self.run.directory().join("tokens.csv").display()),
            "--allow-privileged=true".to_owned(),
            format!("--kubelet-client-certificate={}", file("kube-apiserver-kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kube-apiserver-kubelet-client.key")),
            // As kubeadm has it; and a kubelet that nobody vouches for gets no credential and no command.
            "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname".to_owned(),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            format!("--audit-policy-file={}", self.run.directory().join("audit-policy.yaml").display()),
            format!("--audit-log-path={}", self.audit_log().display()),
        ]
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.pki.path(name).display().to_string();
        let mut arguments =
            self.client_arguments(Component::ControllerManager, self.ports.controller_manager);
        arguments.extend([
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--service-account-private-key-file={}", file("sa.key")),
            "--use-service-account-credentials=true".to_owned(),
            "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
        ]);
        if self.gives_blocks {
            let block = format!("--cluster-cidr={}", Self::POD_CIDR);
            arguments.extend(["--allocate-node-cidrs=true".to_owned(), block]);
        }
        if let Some(life) = self.life {
            arguments.push(format!("--cluster-signing-duration={}s", self.signed_for(life).as_secs()));
        }
        arguments
    }

    /// What a signer is to be told for a certificate to be valid for `life` from now on. All let it begin 5 minutes ago, and
    /// 1.20 lets it end that much sooner (pkg/controller/certificates/authority/policies.go).
    fn signed_for(&self, life: Duration) -> Duration {
        const BACKDATE: Duration = Duration::from_mins(5);
        if self.minor() == Minor::V1_20 { life + BACKDATE } else { life }
    }

    fn client_arguments(&self, component: Component, port: u16) -> Vec<String> {
        let kubeconfig = self.run.directory().join(format!("{}.kubeconfig", component.name()));
        let mut arguments = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--bind-address={}", self.run.loopback_address()),
            format!("--secure-port={port}"),
            // One of each, whose predecessor may have been killed: waiting for its lease would only cost time.
            "--leader-elect=false".to_owned(),
        ];
        if self.minor() == Minor::V1_20 {
            // The port without TLS, on every address.
            arguments.push("--port=0".to_owned());
        }
        arguments
    }
}
