//! What each flag of kubelet, kube-proxy and dockerd stands for: data with sources. Nothing else knows a flag by name
//! but `identity`, `kubelet` and `proxy`, for those that become a key of ours.
//!
//! Fields and defaults: `cmd/kubelet/app/options/options.go` and `pkg/kubelet/apis/config/v1beta1/defaults.go`,
//! `cmd/kube-proxy/app/options.go` and `pkg/proxy/apis/config/v1alpha1/defaults.go` of Kubernetes 1.20 and 1.36; dockerd's:
//! `cmd/dockerd/config.go` of moby. Where a flag was removed, its row names the change.

use super::Program;
use super::values::Kind::{self, Bool, Gates, List, Map, Number, Text, Thresholds};

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    /// A key of ours.
    Key,
    /// A field of the program's own configuration, and what it holds.
    Field(&'static str, Kind),
    /// No field: it stays a flag.
    Flag,
    /// Removed: in which release, what stands for it, and where that is written.
    Gone(&'static str, &'static str, &'static str),
    /// kn-agent sees to it: how.
    Ours(&'static str),
    /// kn-agent sets it to this and to nothing else: why.
    Always(&'static str, &'static str),
}
use Meaning::{Always, Field, Flag as Stays, Gone, Key, Ours};

/// A flag, what it stands for, and the value that need not be written; empty where there is none.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) meaning: Meaning,
    pub(super) default: &'static str,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $table:ident { $($name:literal $meaning:expr $(, $default:literal)?;)+ })+) => {
        $($(#[$doc])* pub(super) const $table: &[Flag] =
            &[$(Flag { name: $name, meaning: $meaning, default: concat!($($default)?) }),+];)+
    };
}

const KLOG: &str = "kubernetes/kubernetes#112120";
const JOURNAL: &str = "what it says is in the journal: `kn-agent logs`";
const DOCKERSHIM: &str = "KEP-2221";
const OF_DOCKERSHIM: &str = "docker is reached by cri-dockerd from then on, which kn-agent drives";

flags! {
    /// The kubelet's.
    KUBELET {
        "address" Field("address", Text), "0.0.0.0";
        "allow-privileged" Gone("1.15", "a pod says so itself, and Pod Security admission decides", "kubernetes/kubernetes#77820");
        "allowed-unsafe-sysctls" Field("allowedUnsafeSysctls", List);
        "alsologtostderr" Gone("1.26", JOURNAL, KLOG);
        "anonymous-auth" Always("false", "anybody who reaches port 10250 could run commands in the pods");
        "authentication-token-webhook" Field("authentication.webhook.enabled", Bool), "true";
        "authentication-token-webhook-cache-ttl" Field("authentication.webhook.cacheTTL", Text), "2m0s";
        "authorization-mode" Always("Webhook", "with anything else every known client could run commands in the pods");
        "authorization-webhook-cache-authorized-ttl" Field("authorization.webhook.cacheAuthorizedTTL", Text), "5m0s";
        "authorization-webhook-cache-unauthorized-ttl" Field("authorization.webhook.cacheUnauthorizedTTL", Text), "30s";
        "bootstrap-kubeconfig" Key;
        "cadvisor-port" Gone("1.12", "nothing listens on port 4194; figures are at /metrics/cadvisor on port 10250, for those whom the API server lets", "kubernetes/kubernetes#65707");
        "cert-dir" Ours("kn-agent keeps the node's certificates in /var/lib/kubelet/pki");
        "cgroup-driver" Field("cgroupDriver", Text);
        "cgroup-root" Field("cgroupRoot", Text);
        "cgroups-per-qos" Field("cgroupsPerQOS", Bool), "true";
        "client-ca-file" Key;
        "cloud-provider" Stays;
        "cluster-dns" Key;
        "cluster-domain" Key;
        "cni-bin-dir" Key;
        "cni-cache-dir" Gone("1.24", OF_DOCKERSHIM, "kubernetes/kubernetes#106907");
        "cni-conf-dir" Key;
        "config" Key;
        "container-log-max-files" Field("containerLogMaxFiles", Number), "5";
        "container-log-max-size" Field("containerLogMaxSize", Text), "10Mi";
        "container-runtime" Key;
        "container-runtime-endpoint" Key;
        "contention-profiling" Field("enableContentionProfiling", Bool), "false";
        "cpu-cfs-quota" Field("cpuCFSQuota", Bool), "true";
        "cpu-manager-policy" Field("cpuManagerPolicy", Text), "none";
        "cpu-manager-reconcile-period" Field("cpuManagerReconcilePeriod", Text), "10s";
        "docker" Gone("1.24", OF_DOCKERSHIM, DOCKERSHIM);
        "docker-endpoint" Gone("1.24", OF_DOCKERSHIM, DOCKERSHIM);
        "enable-controller-attach-detach" Field("enableControllerAttachDetach", Bool), "true";
        "enable-debugging-handlers" Field("enableDebuggingHandlers", Bool), "true";
        "enable-server" Field("enableServer", Bool), "true";
        "enforce-node-allocatable" Field("enforceNodeAllocatable", List), "pods";
        "event-burst" Field("eventBurst", Number);
        "event-qps" Field("eventRecordQPS", Number);
        "eviction-hard" Field("evictionHard", Thresholds);
        "eviction-max-pod-grace-period" Field("evictionMaxPodGracePeriod", Number), "0";
        "eviction-minimum-reclaim" Field("evictionMinimumReclaim", Map);
        "eviction-pressure-transition-period" Field("evictionPressureTransitionPeriod", Text), "5m0s";
        "eviction-soft" Field("evictionSoft", Thresholds);
        "eviction-soft-grace-period" Field("evictionSoftGracePeriod", Map);
        "experimental-bootstrap-kubeconfig" Key;
        "fail-swap-on" Field("failSwapOn", Bool), "true";
        "feature-gates" Field("featureGates", Gates);
        "file-check-frequency" Field("fileCheckFrequency", Text), "20s";
        "hairpin-mode" Ours("the CNI plugin's own `hairpinMode` counts and nothing else reads this one; `network.plugin: bridge` sets it");
        "healthz-bind-address" Field("healthzBindAddress", Text), "127.0.0.1";
        "healthz-port" Field("healthzPort", Number), "10248";
        "hostname-override" Key;
        "http-check-frequency" Field("httpCheckFrequency", Text), "20s";
        "image-gc-high-threshold" Field("imageGCHighThresholdPercent", Number), "85";
        "image-gc-low-threshold" Field("imageGCLowThresholdPercent", Number), "80";
        "image-pull-progress-deadline" Gone("1.24", OF_DOCKERSHIM, DOCKERSHIM);
        "kube-api-burst" Field("kubeAPIBurst", Number);
        "kube-api-content-type" Field("contentType", Text), "application/vnd.kubernetes.protobuf";
        "kube-api-qps" Field("kubeAPIQPS", Number);
        "kube-reserved" Field("kubeReserved", Map);
        "kube-reserved-cgroup" Field("kubeReservedCgroup", Text);
        "kubeconfig" Key;
        "kubelet-cgroups" Field("kubeletCgroups", Text);
        "log-dir" Gone("1.26", JOURNAL, KLOG);
        "log-file" Gone("1.26", JOURNAL, KLOG);
        "logtostderr" Gone("1.26", JOURNAL, KLOG);
        "make-iptables-util-chains" Field("makeIPTablesUtilChains", Bool), "true";
        "manifest-url" Field("staticPodURL", Text);
        "max-open-files" Field("maxOpenFiles", Number), "1000000";
        "max-pods" Field("maxPods", Number), "110";
        "minimum-image-ttl-duration" Field("imageMinimumGCAge", Text), "2m0s";
        "network-plugin" Gone("1.24", "the pods' network is always CNI; `network.plugin` says whose", "kubernetes/kubernetes#106907");
        "network-plugin-mtu" Gone("1.24", "the CNI plugin's own configuration has it", "kubernetes/kubernetes#106907");
        "node-ip" Key;
        "node-labels" Key;
        "node-status-max-images" Field("nodeStatusMaxImages", Number), "50";
        "node-status-update-frequency" Field("nodeStatusUpdateFrequency", Text), "10s";
        "oom-score-adj" Field("oomScoreAdj", Number), "-999";
        "pod-cidr" Field("podCIDR", Text);
        "pod-infra-container-image" Key;
        "pod-manifest-path" Field("staticPodPath", Text), "/etc/kubernetes/manifests";
        "pod-max-pids" Field("podPidsLimit", Number), "-1";
        "pods-per-core" Field("podsPerCore", Number), "0";
        "port" Field("port", Number), "10250";
        "protect-kernel-defaults" Field("protectKernelDefaults", Bool), "false";
        "qos-reserved" Field("qosReserved", Map);
        "read-only-port" Always("0", "that port answers everybody");
        "register-node" Always("true", "it registers the Node itself, before the kubelet starts");
        "register-with-taints" Key;
        "registry-burst" Field("registryBurst", Number), "10";
        "registry-qps" Field("registryPullQPS", Number), "5";
        "reserved-cpus" Field("reservedSystemCPUs", Text);
        "resolv-conf" Field("resolvConf", Text), "/etc/resolv.conf";
        "root-dir" Stays, "/var/lib/kubelet";
        "rotate-certificates" Always("true", "the node would drop out when its certificate expires");
        "rotate-server-certificates" Always("true", "the kubelet would serve with a certificate that nobody signed");
        "runtime-cgroups" Stays;
        "runtime-request-timeout" Field("runtimeRequestTimeout", Text), "2m0s";
        "serialize-image-pulls" Field("serializeImagePulls", Bool), "true";
        "stderrthreshold" Gone("1.26", JOURNAL, KLOG);
        "streaming-connection-idle-timeout" Field("streamingConnectionIdleTimeout", Text), "4h0m0s";
        "sync-frequency" Field("syncFrequency", Text), "1m0s";
        "system-cgroups" Field("systemCgroups", Text);
        "system-reserved" Field("systemReserved", Map);
        "system-reserved-cgroup" Field("systemReservedCgroup", Text);
        "tls-cert-file" Key;
        "tls-cipher-suites" Field("tlsCipherSuites", List);
        "tls-min-version" Field("tlsMinVersion", Text);
        "tls-private-key-file" Key;
        "topology-manager-policy" Field("topologyManagerPolicy", Text), "none";
        "topology-manager-scope" Field("topologyManagerScope", Text), "container";
        "v" Stays;
        "vmodule" Stays;
        "volume-plugin-dir" Field("volumePluginDir", Text);
        "volume-stats-agg-period" Field("volumeStatsAggPeriod", Text), "1m0s";
    }
    /// kube-proxy's.
    PROXY {
        "alsologtostderr" Gone("1.26", JOURNAL, KLOG);
        "bind-address" Field("bindAddress", Text), "0.0.0.0";
        "cluster-cidr" Key;
        "config" Key;
        "config-sync-period" Field("configSyncPeriod", Text), "15m0s";
        "conntrack-max-per-core" Field("conntrack.maxPerCore", Number), "32768";
        "conntrack-min" Field("conntrack.min", Number), "131072";
        "conntrack-tcp-timeout-close-wait" Field("conntrack.tcpCloseWaitTimeout", Text), "1h0m0s";
        "conntrack-tcp-timeout-established" Field("conntrack.tcpEstablishedTimeout", Text), "24h0m0s";
        "detect-local-mode" Field("detectLocalMode", Text);
        "feature-gates" Field("featureGates", Gates);
        "healthz-bind-address" Field("healthzBindAddress", Text), "0.0.0.0:10256";
        "hostname-override" Key;
        "iptables-masquerade-bit" Field("iptables.masqueradeBit", Number), "14";
        "iptables-min-sync-period" Field("iptables.minSyncPeriod", Text), "1s";
        "iptables-sync-period" Field("iptables.syncPeriod", Text), "30s";
        "kube-api-burst" Field("clientConnection.burst", Number), "10";
        "kube-api-content-type" Field("clientConnection.contentType", Text), "application/vnd.kubernetes.protobuf";
        "kube-api-qps" Field("clientConnection.qps", Number), "5";
        "kubeconfig" Key;
        "log-dir" Gone("1.26", JOURNAL, KLOG);
        "log-file" Gone("1.26", JOURNAL, KLOG);
        "logtostderr" Gone("1.26", JOURNAL, KLOG);
        "masquerade-all" Always("false", "pods would see the node instead of who calls them, and network policies would be void");
        "master" Key;
        "metrics-bind-address" Field("metricsBindAddress", Text), "127.0.0.1:10249";
        "nodeport-addresses" Field("nodePortAddresses", List);
        "oom-score-adj" Field("oomScoreAdj", Number), "-999";
        "profiling" Field("enableProfiling", Bool), "false";
        "proxy-mode" Key;
        "stderrthreshold" Gone("1.26", JOURNAL, KLOG);
        "v" Stays;
        "vmodule" Stays;
    }
    /// dockerd's: the keys of its `daemon.json`.
    DOCKERD {
        "H" Ours("docker answers on its own socket, to root; over TCP anybody who reaches it would be root here");
        "bip" Field("bip", Text);
        "containerd" Ours("docker's own unit names its containerd");
        "data-root" Field("data-root", Text), "/var/lib/docker";
        "debug" Field("debug", Bool), "false";
        "default-ulimit" Ours("write `runtime.daemonJson.default-ulimits`");
        "exec-opt" Field("exec-opts", List);
        "graph" Field("data-root", Text), "/var/lib/docker";
        "host" Ours("docker answers on its own socket, to root; over TCP anybody who reaches it would be root here");
        "insecure-registry" Field("insecure-registries", List);
        "ip-masq" Field("ip-masq", Bool), "true";
        "iptables" Field("iptables", Bool), "true";
        "live-restore" Field("live-restore", Bool), "false";
        "log-driver" Field("log-driver", Text), "json-file";
        "log-level" Field("log-level", Text), "info";
        "log-opt" Field("log-opts", Map);
        "max-concurrent-downloads" Field("max-concurrent-downloads", Number), "3";
        "mtu" Field("mtu", Number);
        "registry-mirror" Field("registry-mirrors", List);
        "selinux-enabled" Field("selinux-enabled", Bool), "false";
        "storage-driver" Field("storage-driver", Text);
        "storage-opt" Field("storage-opts", List);
        "userland-proxy" Field("userland-proxy", Bool), "true";
    }
}

/// Switches, of those that become no field.
const SWITCHES: [&str; 5] =
    ["allow-privileged", "anonymous-auth", "alsologtostderr", "logtostderr", "masquerade-all"];

/// The flag of this name.
pub(super) fn find(program: Program, name: &str) -> Option<&'static Flag> {
    let table = match program {
        Program::Kubelet => KUBELET,
        Program::Proxy => PROXY,
        Program::Dockerd => DOCKERD,
    };
    table.iter().find(|flag| flag.name == name)
}

impl Flag {
    /// Whether it takes no word of its own: a switch is on where nothing is said, and off only as `--name=false`.
    pub(super) fn is_switch(&self) -> bool {
        match self.meaning {
            Field(_, kind) => kind == Bool,
            Always("true" | "false", _) => true,
            _ => SWITCHES.contains(&self.name),
        }
    }
}
