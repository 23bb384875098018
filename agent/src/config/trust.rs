//! Whom the node trusts, and a certificate that was issued before: `cluster.ca`, `cluster.clientCA`, `identity.certFile`.

use std::path::PathBuf;

use super::fragment::{CaFragment, ClientCaFragment, IdentityMode};
use super::validate::Check;
use super::{CaSource, ClientCaSource, Cluster, Component, Identity, SuppliedPair, TokenSource, ca};
use crate::names::CaPin;

impl Check<'_> {
    pub(super) fn ca(&mut self, fragment: CaFragment) -> Option<CaSource> {
        match fragment {
            CaFragment { file: Some(file), .. } => {
                self.absolute("cluster.ca.file", Some(file)).map(CaSource::File)
            }
            CaFragment { data: Some(data), .. } => self.pem("cluster.ca.data", &data).map(CaSource::Pem),
            CaFragment { pins: Some(pins), .. } => self.pins(&pins).map(CaSource::Pins),
            CaFragment { file: None, data: None, pins: None } => {
                self.missing("cluster.ca", "write e.g. `cluster: {ca: {file: /etc/kn-agent/ca.pem}}`");
                None
            }
        }
    }

    pub(super) fn client_ca(&mut self, fragment: ClientCaFragment) -> Option<ClientCaSource> {
        match fragment {
            ClientCaFragment { file: Some(file), .. } => {
                self.absolute("cluster.clientCA.file", Some(file)).map(ClientCaSource::File)
            }
            ClientCaFragment { data: Some(data), .. } => {
                self.pem("cluster.clientCA.data", &data).map(ClientCaSource::Pem)
            }
            ClientCaFragment { file: None, data: None } => None,
        }
    }

    /// A bootstrap token signs what the cluster says of itself; a static one does not.
    pub(super) fn pins_need_a_bootstrap_token(&mut self, cluster: &Cluster, identity: &Identity) {
        if let (CaSource::Pins(_), Some(TokenSource::Value(token))) = (&cluster.ca, &identity.token)
            && token.parts().is_none()
        {
            let message = "a static token signs nothing, and `cluster.ca.pins` is checked by a signature";
            self.refuse_with("identity.token.value", message, "give a bootstrap token, or `cluster.ca.file`");
        }
    }

    /// What mode `certificate` decides by itself is no field for the operator.
    pub(super) fn follows_from_the_certificate(&mut self, kubelet: &Component) {
        for field in ["rotateCertificates", "serverTLSBootstrap", "tlsCertFile", "tlsPrivateKeyFile"] {
            if kubelet.config.contains_key(field) {
                let message = "is set by kn-agent in mode `certificate`, after `identity.certFile`";
                self.refuse_with(&format!("kubelet.config.{field}"), message, "remove it");
            }
        }
    }

    fn pem(&mut self, path: &str, data: &str) -> Option<String> {
        match ca::pem_of(data) {
            Ok(pem) => Some(pem),
            Err(error) => {
                self.refuse(path, &error.to_string());
                None
            }
        }
    }

    fn pins(&mut self, texts: &[String]) -> Option<Vec<CaPin>> {
        let path = "cluster.ca.pins";
        if texts.is_empty() {
            let hint = "`kubeadm token create --print-join-command` prints one, or give `file` or `data`";
            self.refuse_with(path, "an empty list", hint);
            return None;
        }
        let parsed: Vec<Option<CaPin>> = texts.iter().map(|text| self.parse(path, Some(text))).collect();
        parsed.into_iter().collect()
    }

    /// The pair of mode `certificate`. Both files are looked at when they are needed: they may come later, and change.
    pub(super) fn supplied(
        &mut self,
        mode: Option<IdentityMode>,
        certificate: Option<String>,
        key: Option<String>,
    ) -> Option<SuppliedPair> {
        let given = [("identity.certFile", certificate), ("identity.keyFile", key)];
        if mode != Some(IdentityMode::Certificate) {
            for (path, _) in given.iter().filter(|(_, file)| file.is_some()) {
                let message = "is for mode `certificate`, and the mode is `bootstrap`";
                self.refuse_with(path, message, "set `identity.mode: certificate`, or remove it");
            }
            return None;
        }
        let [certificate, key]: [Option<PathBuf>; 2] = given.map(|(path, file)| {
            if file.is_none() {
                self.missing(path, &format!("mode `certificate` needs it: `{path}: /etc/kubernetes/…`"));
            }
            self.absolute(path, file)
        });
        Some(SuppliedPair { certificate: certificate?, key: key? })
    }
}
