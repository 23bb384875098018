//! User-data for cloud-init.

use secrecy::{ExposeSecret, SecretString};

/// Where cloud-init keeps copies of user-data: as read, as processed, merged into its configuration, and within the
/// pickled data source (`stages.py`: `_store_rawdata`, `_store_processeddata`, `_pkl_store`; `sources/__init__.py`;
/// `cmd/main.py` since 23.4). At the next boot it reads its source anew; a token that comes back so has ended.
const COPIES: [&str; 5] = [
    "/var/lib/cloud/instances/*/user-data.txt*",
    "/var/lib/cloud/instances/*/cloud-config.txt",
    "/var/lib/cloud/instances/*/obj.pkl",
    "/run/cloud-init/instance-data-sensitive.json",
    "/run/cloud-init/combined-cloud-config.json",
];

/// The whole of a machine's user-data. `config` is written as it is, so that the machine has what `--print config`
/// prints.
///
/// The frame is text and no serialised document for its comments: a person reads and edits this. Only the
/// configuration varies; as a literal block, which takes any printable line as it is.
pub fn cloud_init(config: &SecretString) -> SecretString {
    let mut content = String::new();
    for line in config.expose_secret().lines() {
        if !line.is_empty() {
            content.push_str("      ");
            content.push_str(line);
        }
        content.push('\n');
    }
    let copies = COPIES.join(" ");
    let text = format!(
        "#cloud-config
# Keep it secret: it holds a token. What serves it (a metadata service, a seed on a disk) must serve it to no one else;
# from pods, block 169.254.169.254. Where the platform lets you, take it away there once the machine has joined.
write_files:
  - path: /etc/kn-agent/config.yaml
    owner: root:root
    permissions: '0600'
    content: |
{content}
# An image that has the package needs no line of this. Otherwise install it here, from a repository or from a file:
# packages: [kn-agent]
runcmd:
  # - [sh, -c, 'curl --fail --silent --show-error --output /run/kn-agent.deb URL && apt-get install --yes /run/kn-agent.deb']
  - [systemctl, enable, kn-agent.path, kn-agent.service]
  - [systemctl, start, --no-block, kn-agent.path, kn-agent.service]
  # The token is in cloud-init's own copies of this file too.
  - [sh, -c, 'rm -f {copies}']
"
    );
    zeroize::Zeroize::zeroize(&mut content);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::bound;
    use super::*;
    use serde_json::{Value, json};

    fn parsed(config: &SecretString) -> Value {
        serde_saphyr::from_str(cloud_init(config).expose_secret()).unwrap()
    }

    #[test]
    fn file_on_the_machine_is_what_print_config_prints_byte_for_byte() {
        let config = bound();
        assert_eq!(parsed(&config)["write_files"][0]["content"], config.expose_secret());
    }

    #[test]
    fn lines_that_yaml_would_take_for_something_else_survive() {
        for text in [
            "# a\n\n  indented: 'x'\n\nlast: \"y\"\n",
            "a: |\n  b\n\n  c\n",
            "---\n%YAML 1.1\n...\n",
            "#cloud-config\n{{ jinja }} $x `y` \\z\n",
        ] {
            let config = SecretString::from(text.to_owned());
            assert_eq!(parsed(&config)["write_files"][0]["content"], text);
        }
    }

    /// The form that cloud-init's modules `write_files` and `runcmd` take (their JSON schema).
    #[test]
    fn document_is_one_that_cloud_init_takes() {
        let text = cloud_init(&bound());
        assert_eq!(text.expose_secret().lines().next(), Some("#cloud-config"));
        let document = parsed(&bound());
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["runcmd", "write_files"]);
        let file = &document["write_files"][0];
        assert_eq!(file["path"], "/etc/kn-agent/config.yaml");
        // A string: YAML 1.1 would read 0600 as a number.
        assert_eq!((&file["permissions"], &file["owner"]), (&json!("0600"), &json!("root:root")));
        let commands = document["runcmd"].as_array().unwrap();
        let words = commands.iter().flat_map(|command| command.as_array().unwrap());
        assert!(words.clone().count() > 8 && words.clone().all(Value::is_string), "{document}");
    }

    #[test]
    fn no_command_holds_the_token_and_every_copy_is_removed() {
        let document = parsed(&bound());
        let commands = document["runcmd"].to_string();
        assert!(!commands.contains("7890123456789012") && !commands.contains("123456."), "{commands}");
        assert!(COPIES.iter().all(|copy| commands.contains(copy)), "{commands}");
    }
}
