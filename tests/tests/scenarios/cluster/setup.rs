//! What `cluster init` makes, shows and mends, and whom it warns of.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Admin, objects};

/// What the approver's account may do beside what every account may: the whole of its rights.
const RIGHTS: &str = "\
kn-agent: certificatesigningrequests.certificates.k8s.io [] [] [get list watch]
kn-agent: certificatesigningrequests.certificates.k8s.io/approval [] [] [update]
kn-agent: leases.coordination.k8s.io [] [] [get list create delete]
kn-agent: nodes [] [] [get list watch]
kn-agent: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client-kubelet] [approve]
kn-agent: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client] [approve]
kn-agent: signers.certificates.k8s.io [] [kubernetes.io/kubelet-serving] [approve]
default: certificatesigningrequests.certificates.k8s.io [] [] [get list watch]
default: certificatesigningrequests.certificates.k8s.io/approval [] [] [update]
default: endpoints [] [kubernetes] [get list watch]
default: events.events.k8s.io [] [] [create patch]
default: nodes [] [] [get list watch]
default: services [] [kubernetes] [get list watch]
default: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client-kubelet] [approve]
default: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client] [approve]
default: signers.certificates.k8s.io [] [kubernetes.io/kubelet-serving] [approve]
kube-system: certificatesigningrequests.certificates.k8s.io [] [] [get list watch]
kube-system: certificatesigningrequests.certificates.k8s.io/approval [] [] [update]
kube-system: nodes [] [] [get list watch]
kube-system: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client-kubelet] [approve]
kube-system: signers.certificates.k8s.io [] [kubernetes.io/kube-apiserver-client] [approve]
kube-system: signers.certificates.k8s.io [] [kubernetes.io/kubelet-serving] [approve]
";

const NODECLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";

pub(crate) fn dry_run_shows_and_changes_nothing(admin: &Admin<'_>) -> Result<()> {
    let (status, code) = admin.status()?;
    ensure!(code == Some(4) && status["complete"] == false, "{status}");
    let missing = objects(&status).iter().filter(|object| object["state"] == "missing").count();
    ensure!(missing > 8, "{status}");
    let shown = admin.agent(&["cluster", "init", "--dry-run"])?.stdout;
    for said in [
        "Namespace kn-agent: created (dry run)",
        "    +kind: Namespace",
        "Role kn-agent/kn-agent:approver: created (dry run)",
        "ClusterRoleBinding kn-agent:approver: changed (subjects) (dry run)",
        "    -  name: kn-agent:approver",
        "ServiceAccount kube-system/kn-agent-approver: removed (dry run)",
    ] {
        ensure!(shown.contains(said), "`{said}` is not in\n{shown}");
    }
    ensure!(!admin.exists(&["namespace", "kn-agent"])?, "a dry run made a namespace");
    ensure!(
        admin.exists(&["serviceaccount", "-n", "kube-system", "kn-agent-approver"])?,
        "a dry run deleted"
    );
    Ok(())
}

pub(crate) fn init_sets_up_once(admin: &Admin<'_>) -> Result<()> {
    let (first, results) = admin.init(&[])?;
    ensure!(results == ["changed", "created", "removed"], "{first}");
    let next = first["next"].to_string();
    ensure!(next.contains("--approver unit") && next.contains("token create --node"), "{first}");
    let (again, results) = admin.init(&[])?;
    ensure!(results == ["unchanged"], "{again}");
    ensure!(!admin.exists(&["serviceaccount", "-n", "kube-system", "kn-agent-approver"])?, "it is left");
    let binding = admin.kubectl.get(&["clusterrolebinding", "kn-agent:approver"])?;
    let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
    ensure!(subjects.len() == 1 && subjects[0]["namespace"] == "kn-agent", "{binding}");
    let (status, code) = admin.status()?;
    ensure!(code == Some(0) && status["complete"] == true, "{status}");
    ensure!(status["schema"] == "kn-agent.io/cluster-status/v1", "{status}");
    ensure!(status["approver"]["runs"] == "unknown" && status["nodes"]["total"] == 0, "{status}");
    Ok(())
}

pub(crate) fn what_differs_is_shown_and_mended(admin: &Admin<'_>) -> Result<()> {
    let patch = r#"{"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}"#;
    admin.kubectl.run(&["patch", "clusterrole", "kn-agent:approver", "--type=merge", "-p", patch])?;
    admin.kubectl.run(&["delete", "rolebinding", "-n", "default", "kn-agent:approver"])?;
    let (status, code) = admin.status()?;
    let wrong: Vec<(Value, Value)> = objects(&status)
        .into_iter()
        .filter(|object| object["state"] != "right")
        .map(|object| (object["name"].clone(), object["state"].clone()))
        .collect();
    let expected = [("kn-agent:approver", "differs"), ("default/kn-agent:approver", "missing")];
    ensure!(code == Some(4) && wrong == expected.map(|(n, s)| (n.into(), s.into())), "{status}");
    let text = admin.try_agent(&["cluster", "status"])?.stdout;
    ensure!(text.contains("ClusterRole kn-agent:approver differs (rules)"), "{text}");
    let shown = admin.agent(&["cluster", "init", "--dry-run"])?.stdout;
    let lines =
        |sign: &str| shown.lines().filter(|line| line.trim_start().starts_with(sign)).collect::<Vec<_>>();
    ensure!(lines("-").iter().any(|line| line.contains("secrets")), "{shown}");
    ensure!(lines("+").iter().any(|line| line.contains("certificatesigningrequests")), "{shown}");
    ensure!(admin.status()?.1 == Some(4), "a dry run mended something");
    let (_, results) = admin.init(&[])?;
    ensure!(results == ["changed", "created", "unchanged"], "{results:?}");
    ensure!(admin.status()?.1 == Some(0), "it is not mended");
    Ok(())
}

pub(crate) fn account_has_its_rights_and_no_other(admin: &Admin<'_>) -> Result<()> {
    let list = |account: &str, namespace: &str| -> Result<Vec<String>> {
        let user = format!("--as=system:serviceaccount:kn-agent:{account}");
        let text = admin.kubectl.run(&["auth", "can-i", "--list", &user, "-n", namespace, "--no-headers"])?;
        Ok(text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    };
    let mut found = String::new();
    for namespace in ["kn-agent", "default", "kube-system"] {
        let everybody = list("default", namespace)?;
        ensure!(
            !everybody.is_empty(),
            "an account without rights of its own may do nothing: the list is wrong"
        );
        let mut own = list("kn-agent-approver", namespace)?;
        own.retain(|line| !everybody.contains(line));
        own.sort();
        found.extend(own.iter().map(|line| format!("{namespace}: {line}\n")));
    }
    ensure!(found == RIGHTS, "found\n{found}\nexpected\n{RIGHTS}");
    Ok(())
}

pub(crate) fn broad_bindings_are_reported(admin: &Admin<'_>) -> Result<()> {
    let warnings = || Ok::<_, anyhow::Error>(admin.init(&[])?.0["warnings"].clone());
    ensure!(warnings()? == serde_json::json!([]), "{}", warnings()?);
    let role = format!("--clusterrole={NODECLIENT}");
    for (group, said) in [
        ("system:bootstrappers", "is void"),
        ("system:bootstrappers:kn-agent", "is void"),
        ("system:bootstrappers:kubeadm:default-node-token", "kubeadm token create"),
    ] {
        let group_flag = format!("--group={group}");
        admin.kubectl.run(&["create", "clusterrolebinding", "broad", &role, &group_flag])?;
        let warnings = warnings()?;
        let found = warnings.to_string();
        ensure!(
            found.contains(said) && found.contains("kubectl delete clusterrolebinding broad"),
            "{group}: {found}"
        );
        ensure!(admin.status()?.0["warnings"] == warnings, "{group}");
        admin.kubectl.run(&["delete", "clusterrolebinding", "broad"])?;
    }
    ensure!(warnings()? == serde_json::json!([]), "{}", warnings()?);
    Ok(())
}
