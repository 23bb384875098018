use super::*;

fn chosen() -> Flannel {
    Flannel {
        image: Some("flannel:1".to_owned()),
        plugin_image: Some("plugin:1".to_owned()),
        bin_dir: Some("/usr/lib/cni".into()),
        backend: Some(Backend::HostGw),
        pod_cidr: Some("10.200.0.0/16".parse().unwrap()),
    }
}

fn typed(settings: &Settings) -> (DaemonSet, ConfigMap) {
    let daemons = serde_json::from_value(daemons(settings)).unwrap();
    (daemons, serde_json::from_value(configuration(settings)).unwrap())
}

fn found(settings: &Settings) -> Found {
    let (daemons, configuration) = typed(settings);
    Found { daemons: vec![daemons], configuration: Some(configuration), nodes: Vec::new() }
}

/// A misspelt field would be dropped by the API server without a word.
#[test]
fn every_field_is_one_that_kubernetes_has() {
    let settings = Settings::default().with(&chosen());
    let (set, configured) = typed(&settings);
    assert_eq!(serde_json::to_value(&set).unwrap(), daemons(&settings));
    assert_eq!(serde_json::to_value(&configured).unwrap(), configuration(&settings));
    assert_eq!(Settings::of(&set, &configured), Some(settings));
}

#[test]
fn what_was_not_asked_for_stays_as_it_is() {
    let settings = Settings::default().with(&chosen());
    let there = found(&settings);
    assert_eq!(there.wanted(&Cni::AsFound).unwrap(), Some(settings.clone()));
    let image = Flannel { image: Some("flannel:2".to_owned()), ..Flannel::default() };
    let other = Settings { image: "flannel:2".to_owned(), ..settings };
    assert_eq!(there.wanted(&Cni::Flannel(image)).unwrap(), Some(other));
    assert_eq!(Found::default().wanted(&Cni::AsFound).unwrap(), None);
    let new = Found::default().wanted(&Cni::Flannel(Flannel::default())).unwrap();
    assert_eq!(new, Some(Settings::default()));
}

#[test]
fn flannel_of_somebody_else_is_left_alone() {
    let mut there = found(&Settings::default());
    there.daemons[0].metadata.labels = None;
    assert_eq!(there.wanted(&Cni::AsFound).unwrap(), None);
    let error = there.wanted(&Cni::Flannel(Flannel::default())).unwrap_err().to_string();
    assert!(error.starts_with("DaemonSet kube-flannel/kube-flannel-ds runs flannel"), "{error}");
}

#[test]
fn nodes_with_addresses_of_another_block_are_told() {
    let node = |name: &str, block: &str| (name.to_owned(), block.parse().unwrap());
    let nodes = vec![node("a", "10.244.1.0/24"), node("b", "10.1.0.0/24"), node("c", "10.1.1.0/24")];
    let there = Found { nodes, ..Found::default() };
    let told = there.warning(&Settings::default()).unwrap();
    assert!(told.contains("the Node b has the podCIDR 10.1.0.0/24, and 1 more"), "{told}");
    assert!(told.contains("--pod-cidr"), "{told}");
    let there = Found { nodes: vec![node("a", "10.244.1.0/24")], ..Found::default() };
    assert_eq!(there.warning(&Settings::default()), None);
}

#[test]
fn another_configuration_starts_the_pods_anew() {
    let hash = |settings: &Settings| {
        daemons(settings)["spec"]["template"]["metadata"]["annotations"]["kn-agent.io/configuration"].clone()
    };
    let other = Settings { backend: "host-gw".to_owned(), ..Settings::default() };
    assert_eq!(hash(&Settings::default()), hash(&Settings::default()));
    assert_ne!(hash(&Settings::default()), hash(&other));
}
