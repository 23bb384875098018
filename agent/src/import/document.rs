//! JSON: docker's `daemon.json`, a CNI configuration, a request for a certificate as cfssl takes it.

use serde_json::{Map, Value};

use super::Input;
use super::draft::{Draft, Place};

/// The JSON of a file. `None` where it is none; that is a problem of the file's.
pub(super) fn parse(input: &Input, draft: &mut Draft) -> Option<Map<String, Value>> {
    let parsed = serde_json::from_str(&input.text);
    parsed
        .map_err(|error| {
            let place = Place { file: input.name.clone(), line: u32::try_from(error.line()).ok() };
            draft.refuse(&place, &format!("no valid JSON: {error}"));
        })
        .ok()
}

/// Keys of docker's other JSON file, its client's `config.json`, with passwords of registries.
const OF_CLIENT: [&str; 4] = ["auths", "credHelpers", "credsStore", "HttpHeaders"];

/// Reads a JSON file as what it is.
pub(super) fn read(input: &Input, map: Map<String, Value>, draft: &mut Draft) {
    if let Some(key) = OF_CLIENT.iter().find(|key| map.contains_key(**key)) {
        let message = format!(
            "`{key}` is of the configuration of docker's client, which is not taken over: for images from a registry with \
             a password, pods have imagePullSecrets; expected its daemon's, daemon.json"
        );
        draft.refuse(&Place::file(&input.name), &message);
    } else if map.contains_key("CN") && map.contains_key("key") {
        request(input, &map, draft);
    } else if map.contains_key("plugins") || (map.contains_key("type") && map.contains_key("name")) {
        let place = Place::file(&input.name);
        let why = "dropped: pods on the host's network start without one, so no placeholder is needed; `network.plugin: \
                   bridge` makes a bridge with the node's own block of addresses. Remove the old file from the node: it may \
                   sort before the network plugin's and win";
        draft.note(&place, "CNI configuration", why);
    } else {
        docker(input, map, draft);
    }
}

/// Keys that are not taken over, and why.
const NOT_TAKEN: [(&str, &str); 5] = [
    (
        "hosts",
        "dropped: docker answers on its own socket, to root; over TCP anybody who reaches it would be root here",
    ),
    ("tls", "dropped: docker is reached over no network"),
    ("tlscacert", "dropped: docker is reached over no network"),
    ("tlscert", "dropped: docker is reached over no network"),
    ("tlskey", "dropped: docker is reached over no network"),
];

fn docker(input: &Input, map: Map<String, Value>, draft: &mut Draft) {
    for (key, value) in map {
        let place = Place { file: input.name.clone(), line: line_of(&input.text, &key) };
        if let Some((_, why)) = NOT_TAKEN.iter().find(|(name, _)| *name == key) {
            draft.note(&place, &key, why);
        } else if key == "graph" {
            draft.note(&place, &key, "changed: docker calls it `data-root` since 17.05");
            draft.set(&["runtime", "daemonJson", "data-root"], value);
        } else {
            draft.set(&["runtime", "daemonJson", &key], value);
        }
    }
}

/// The line that has this key first.
fn line_of(text: &str, key: &str) -> Option<u32> {
    let written = format!("\"{key}\"");
    (1u32..).zip(text.lines()).find(|(_, line)| line.contains(&written)).map(|(number, _)| number)
}

/// A request for a certificate: kn-agent makes its own. Only another name than the usual one has to be kept.
fn request(input: &Input, map: &Map<String, Value>, draft: &mut Draft) {
    let place = Place::file(&input.name);
    let name = map.get("CN").and_then(Value::as_str).unwrap_or_default();
    let why = if name.starts_with("system:node:") {
        "dropped: in mode `bootstrap` kn-agent asks for the node's certificate itself, with a key that is made on the node \
         (`identity.key`); in mode `certificate` whoever issues it does"
            .to_owned()
    } else {
        if name != "system:kube-proxy" {
            draft.set(&["proxy", "certificate", "subject", "commonName"], name.into());
        }
        "dropped: kn-agent asks for kube-proxy's certificate itself, for the user that the cluster knows; \
         `proxy.certificate.subject` adds other attributes where they are wanted and the approver's policy has them"
            .to_owned()
    };
    draft.note(&place, &format!("request for {name}"), &why);
}
