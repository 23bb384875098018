//! Who sends requests: nodes with certificates of the cluster's authority, holders of tokens, and others.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{ControlPlane, process::run};

/// How soon after it was made the API server takes a token.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// A client with the identity of a kubeconfig.
pub(crate) async fn client_of(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("cannot read `{}`", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    // A refusal is an answer here, also one that another client would try again.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Makes identities, each once.
pub(crate) struct Requesters<'a> {
    control_plane: &'a ControlPlane,
    /// Our program, which makes tokens.
    program: PathBuf,
    clients: tokio::sync::Mutex<HashMap<String, Client>>,
}

impl<'a> Requesters<'a> {
    pub(crate) fn new(control_plane: &'a ControlPlane, program: PathBuf) -> Self {
        Self { control_plane, program, clients: tokio::sync::Mutex::default() }
    }

    /// The administrator.
    pub(crate) async fn admin(&self) -> Result<Client> {
        client_of(&self.control_plane.admin_kubeconfig()).await
    }

    /// A node, by a client certificate that the cluster's authority signed.
    pub(crate) async fn node(&self, name: &str) -> Result<Client> {
        self.user(&format!("node-{name}"), &format!("system:node:{name}"), &["system:nodes"]).await
    }

    /// Anybody, by a client certificate; `file` is what its files are called.
    pub(crate) async fn user(&self, file: &str, user: &str, groups: &[&str]) -> Result<Client> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(file) {
            return Ok(client.clone());
        }
        let (kubectl, _) = self.control_plane.kubectl_as(file, user, groups)?;
        let client = client_of(kubectl.kubeconfig()).await?;
        clients.insert(file.to_owned(), client.clone());
        Ok(client)
    }

    /// The holder of a new token, made as an administrator makes it; `words` are its flags.
    pub(crate) async fn token(&self, words: &[&str]) -> Result<Client> {
        self.holder(&self.make_token(words).await?)
    }

    /// A new token.
    pub(crate) async fn make_token(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        let kubeconfig = self.control_plane.admin_kubeconfig();
        command.args(["token", "create"]).args(words).arg("--kubeconfig").arg(kubeconfig);
        let printed = tokio::task::spawn_blocking(move || run(&mut command)).await??;
        let token = printed.trim().to_owned();
        self.is_known(&self.holder(&token)?).await?;
        Ok(token)
    }

    /// The API server reads tokens through a watch, and a busy one knows a new token later than it says that it made it.
    async fn is_known(&self, holder: &Client) -> Result<()> {
        let is_refused =
            |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 401);
        let begin = Instant::now();
        while let Err(error) = holder.apiserver_version().await {
            ensure!(is_refused(&error) && begin.elapsed() < KNOWN_WITHIN, "a new token: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The holder of a token.
    pub(crate) fn holder(&self, token: &str) -> Result<Client> {
        let mut config = Config::new(self.control_plane.server().parse()?);
        config.root_cert_file = Some(self.control_plane.ca());
        config.default_retry = false;
        config.auth_info.token = Some(token.to_owned().into());
        Ok(Client::try_from(config)?)
    }
}
