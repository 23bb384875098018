//! The closed list of reasons a node is not Ready yet, each with its remedy. Scripts may rely on the codes.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ident, $remedy:literal;)+) => {
        /// Why something waits or is blocked. The variant's name is the code that `status` shows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])* $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What happened.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What usually helps.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }

            /// Whether a person has to do something; otherwise time or another program does it.
            pub const fn needs_operator(self) -> bool {
                match self { $(Self::$name => kind::$kind,)+ }
            }
        }
    };
}

mod kind {
    pub(super) const OPERATOR: bool = true;
    pub(super) const TIME: bool = false;
}

reasons! {
    /// A check before joining failed.
    PreflightFailed: OPERATOR, "run `kn-agent check`; mend what it names, or add the check's name to preflight.ignore";
    /// A program is not there or can't be executed.
    BinaryMissing: OPERATOR, "install the program, or name its path in the configuration (kubelet.binary, proxy.binary, runtime.criDockerd)";
    /// A program's version is outside 1.20 to 1.36.
    UnsupportedVersion: OPERATOR, "install a kubelet from 1.20 to 1.36";
    /// The installed program has no such flag, or the flag takes no such value.
    UnknownFlag: OPERATOR, "do what the message says; kn-agent config validate names file and line";
    /// The installed program has no such field, or the field holds another kind of value.
    FieldRefused: OPERATOR, "do what the message says; kn-agent config validate names file and line, kn-agent check --for VERSION looks ahead";
    /// The CA bundle can't be read or holds no certificate.
    CaUnusable: OPERATOR, "correct cluster.ca";
    /// The CA is to be found by its pins, and is not on this machine yet.
    CaUndiscovered: TIME, "asked for by itself; see the phase trust";
    /// None of the CA certificates that were found has a public key that cluster.ca.pins names.
    CaPinMismatch: OPERATOR, "compare with the control plane: openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum; a match goes into cluster.ca.pins as sha256:HASH, anything else is another cluster";
    /// The cluster does not show its public information to somebody it does not know.
    ClusterInfoMissing: OPERATOR, "on the control plane: kubeadm init phase bootstrap-token makes it readable (with --anonymous-auth=false it never is); or give cluster.ca.file";
    /// The cluster's public information bears no signature by this token.
    ClusterInfoUnsigned: OPERATOR, "on the control plane: kubeadm token create --usages signing,authentication, or kn-agent token create --node NAME --signing; put the new token in place; it is read again by itself";
    /// The signature on the cluster's public information is not by this token.
    ClusterInfoForged: OPERATOR, "the token's secret is mistyped, or somebody else answers at cluster.server: compare both with the control plane; nothing was sent there";
    /// The cluster's public information was another one when it was read again from a server that had proven itself.
    ClusterInfoChanged: OPERATOR, "if it stays so, somebody is between this machine and cluster.server; tried again by itself";
    /// The cluster's public information can't be read.
    ClusterInfoUnusable: OPERATOR, "see the message; kubectl -n kube-public get configmap cluster-info -o yaml shows it; or give cluster.ca.file";
    /// No token source is configured and there is no identity yet.
    TokenMissing: OPERATOR, "on an admin machine: kn-agent token create --node NAME --print token; put it where the message says: it is read again by itself";
    /// The node's client certificate has expired, and there is no token to ask for another.
    CertificateExpired: OPERATOR, "on an admin machine: kn-agent token create --node NAME --print token; put it where the message says: nothing else is to be done";
    /// The API server refuses the node's client certificate (401) although it is valid and of the configured CA.
    IdentityRefused: OPERATOR, "the API server trusts another client CA, or its clock is wrong; where this cluster is to know the node anew: kn-agent token create --node NAME --print token, put where the message says";
    /// The node's client certificate is for another name than node.name.
    NodeRenamed: OPERATOR, "set node.name back to the name in the message, or on an admin machine: kn-agent token create --node NAME --print token; then delete the old Node";
    /// The node's client certificate was signed by another CA than cluster.ca: another cluster's.
    OtherCluster: OPERATOR, "to join this cluster: kn-agent token create --node NAME --print token on an admin machine of it; to stay with the old one, set cluster.ca and cluster.server back";
    /// A certificate is not valid yet.
    NotYetValid: TIME, "compare this machine's clock with the API server's (timedatectl); used by itself when its time has come";
    /// The API server does not answer.
    ApiUnreachable: TIME, "check that the API server runs and that cluster.server is its address; tried again by itself";
    /// The API server's certificate was not issued by the configured CA.
    ApiUntrusted: OPERATOR, "cluster.ca is not the CA of this API server: copy the right one, or correct cluster.server";
    /// The API server refused the credentials (401).
    Unauthorized: OPERATOR, "the token is unknown or expired: on an admin machine run `kn-agent token create --node NAME --print token`, put it in place; it is read again by itself";
    /// The API server refused the request (403).
    Forbidden: OPERATOR, "the cluster lacks a role binding: on an admin machine run `kn-agent cluster init`";
    /// The API server asks to come back later (429) or has an inner error (5xx).
    ApiBusy: TIME, "tried again by itself";
    /// Nobody has approved the certificate signing request.
    CsrPending: TIME, "on an admin machine: kn-agent approver, or kubectl certificate approve NAME; where the approver holds it, the message says why";
    /// Approved, but no signer has issued the certificate yet.
    CsrUnissued: TIME, "check that kube-controller-manager runs with --cluster-signing-cert-file and --cluster-signing-key-file";
    /// The request was denied.
    CsrDenied: OPERATOR, "mend what the message says; asked again by itself at the time it names, and at once with another token or after kubectl delete csr NAME";
    /// The signer could not issue the certificate.
    CsrFailed: OPERATOR, "see the signer's message; asked again by itself at the time it names, and at once with another token or after kubectl delete csr NAME";
    /// The request was deleted more than once before its certificate was there.
    CsrDeleted: TIME, "find out who deletes certificate signing requests; submitted again by itself at the time it names";
    /// Under the request's name stands one that is not ours: another key, signer or use.
    CsrForeign: TIME, "find out who created the CSR in the message; the agent asks with a new key under another name";
    /// What the API server issued is not what was asked for.
    CertificateRejected: OPERATOR, "signed by another CA: correct cluster.ca (where others sign for clients, cluster.clientCA); anything else: find out who writes certificates into requests; asked for again at once after kubectl delete csr NAME";
    /// The supplied certificate or its key can't be used.
    CertificateUnusable: OPERATOR, "correct the file that the message names; it is read again by itself";
    /// Others may read a private key or a credential.
    KeyExposed: OPERATOR, "chmod 600 FILE, chown root FILE; replace what others may have read";
    /// The supplied certificate is not valid now.
    SuppliedExpired: OPERATOR, "replace the files; they are read again by themselves";
    /// Nine tenths of the supplied certificate's life are over.
    CertificateExpiring: OPERATOR, "have a new one issued and replace the files; they are read again by themselves";
    /// The supplied certificate does not name what the node is reached at: kubectl logs and exec may fail.
    CertificateNames: OPERATOR, "have one issued with the node's name and address among its subject alternative names";
    /// The supplied kubeconfig can't be used.
    KubeconfigUnusable: OPERATOR, "correct the file that the message names; it is read again by itself";
    /// A certificate comes to its end and nobody has renewed it.
    RenewalFailing: OPERATOR, "the message says what is in the way; kubelet's: kn-agent logs kubelet; kube-proxy's: approve its CSR (kn-agent approver)";
    /// A file can't be written or read.
    FileTrouble: OPERATOR, "mend what the message names (permissions, a read-only mount); tried again by itself";
    /// There is no space left for a file, or a quota is used up.
    DiskFull: OPERATOR, "make room on the file system of the path in the message (df shows it); tried again by itself";
    /// systemd can't be reached or refused.
    SystemdTrouble: TIME, "check `systemctl status dbus`; tried again by itself";
    /// A unit's start job ended in failure.
    UnitFailed: OPERATOR, "see the log lines; kn-agent logs shows more; tried again by itself";
    /// A unit starts over and over.
    UnitCrashLoop: OPERATOR, "see the log lines; kn-agent logs shows more";
    /// The unit of the container runtime starts over and over.
    RuntimeCrashLoop: OPERATOR, "see the log lines: a key in /etc/docker or /etc/containerd, a drop-in of the unit (systemctl cat UNIT), a docker older than 23 under cri-dockerd; kn-agent logs runtime shows more";
    /// A unit is masked.
    UnitMasked: OPERATOR, "somebody masked it; systemctl unmask UNIT when it may run again";
    /// systemd did not start a unit, for a condition in its file or in a drop-in of it.
    UnitSkipped: OPERATOR, "systemctl cat UNIT shows who asks for the condition; meet it or take it away; tried again by itself";
    /// A unit is on its way.
    UnitStarting: TIME, "wait; kn-agent logs shows what it does";
    /// The runtime's unit is active but its socket does not answer.
    RuntimeUnresponsive: TIME, "kn-agent logs runtime; systemctl restart docker (cri-docker, containerd), whichever the message names, if it stays so";
    /// containerd runs, but not the part of it that the kubelet talks to, or not in the kubelet's version.
    CriMissing: OPERATOR, "kn-agent logs runtime says why the plugin `cri` was not loaded; disabled_plugins of a file that /etc/containerd/config.toml imports may name it; kubelets before 1.23 need containerd 1.6 or 1.7";
    /// kubelet and runtime would use different cgroup drivers.
    CgroupDriverMismatch: OPERATOR, "make docker's native.cgroupdriver and kubelet.config.cgroupDriver equal, or remove both; containerd: another file that it imports sets SystemdCgroup (containerd config dump)";
    /// Swap is on, and the kubelet would end for it.
    SwapOn: OPERATOR, "swapoff -a, and take swap out of /etc/fstab; or allow it: kubelet.config.failSwapOn: false";
    /// The node's address can't be told from what the configuration says, or no interface has it.
    NodeAddress: OPERATOR, "ip -brief address shows what there is; name the one in node.address, or networks that hold just one in node.addressFrom; looked at again by itself";
    /// The pod sandbox image is not on the node.
    SandboxImageMissing: OPERATOR, "docker pull IMAGE, or docker load it (containerd: ctr -n k8s.io images pull, or import); or set runtime.sandboxImage";
    /// A kernel setting could not be made.
    KernelSetting: OPERATOR, "see kn-agent-sysctl.service and kn-agent-modules.service";
    /// The Node was Ready once and somebody deleted it.
    NodeDeleted: OPERATOR, "somebody removed this node from the cluster; to join again remove /var/lib/kn-agent/joined and restart kn-agent";
    /// The Node has no block of pod addresses.
    PodCidrMissing: TIME, "kube-controller-manager needs --allocate-node-cidrs and --cluster-cidr";
    /// No CNI configuration is there yet.
    CniMissing: TIME, "the network plugin's DaemonSet writes it: kubectl get daemonsets -A shows it; on an admin machine kn-agent cluster init --cni flannel installs one";
    /// The bridge configuration is not written yet, and what reads it waits.
    CniPending: TIME, "written by itself when the Node has its block of pod addresses; see the phase network";
    /// Another CNI configuration sorts before the one that is wanted and would win.
    CniConflict: OPERATOR, "remove the other configuration, or set network.plugin to none";
    /// The CNI configuration that would be used is none.
    CniConfUnusable: OPERATOR, "mend or remove the file that the message names; it is read again by itself";
    /// A CNI plugin program is missing.
    CniPluginMissing: OPERATOR, "install the CNI plugins (Debian: containernetworking-plugins), or set network.binDir; flannel's own program goes where kn-agent cluster init --cni flannel --cni-bin-dir DIR has it put";
    /// flanneld has not said which addresses are this node's.
    FlannelPending: TIME, "its pod on this node says why: kubectl -n kube-flannel get pods -o wide, kubectl -n kube-flannel logs POD";
    /// calico-node has not said which node this is, or has left no way to the API server.
    CalicoPending: TIME, "its pod on this node says why: kubectl -n kube-system get pods -o wide -l k8s-app=calico-node, kubectl -n kube-system logs POD";
    /// Another kube-proxy runs on this machine beside ours, and both write the same rules.
    ProxyTwice: OPERATOR, "where the cluster runs kube-proxy as a DaemonSet: proxy.enabled: false, then systemctl disable --now kube-proxy; else remove the DaemonSet";
    /// The kubelet lets in whom it does not know, or answers everybody on a port of its own.
    KubeletOpen: OPERATOR, "kubelet.yaml closes both: look for a flag in a drop-in that opens one (systemctl cat kubelet: --anonymous-auth, --read-only-port), take it out, systemctl daemon-reload, systemctl restart kubelet";
    /// This machine lacks what kube-proxy's mode needs.
    ProxyModeUnsupported: OPERATOR, "do what the message says, or set proxy.mode to one that this machine has what it needs for; kn-agent check says so";
    /// The component's health endpoint does not answer ok.
    Unhealthy: TIME, "kn-agent logs shows why";
    /// The Node's Ready condition is not True.
    NodeNotReady: TIME, "the message is the kubelet's own; kubectl describe node shows more";
    /// The serving certificate is not issued yet.
    ServingCertPending: TIME, "kn-agent approver approves kubelet-serving requests; until then kubectl logs and exec fail; kubectl get csr --field-selector spec.signerName=kubernetes.io/kubelet-serving shows them";
    /// The serving certificate has expired.
    ServingCertExpired: OPERATOR, "the kubelet asks for another by itself: approve its request (kn-agent approver), or see kn-agent logs kubelet; until then kubectl logs and exec fail";
    /// The serving certificate is not for all addresses of the Node.
    ServingCertNames: TIME, "the kubelet asks anew by itself when its addresses change: approve its request (kn-agent approver); until then kubectl logs and exec may fail with an x509 error";
    /// A step was done, and the next look found it undone.
    NoEffect: TIME, "somebody undoes it, or the system ignores it; see kn-agent logs; tried again by itself";
    /// Something could not be observed.
    Unobservable: TIME, "tried again by itself";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
