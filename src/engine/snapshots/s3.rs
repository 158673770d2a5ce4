//! An S3-compatible object store as a bucket. The only home of the crate `object_store`.
//!
//! Address and prefix come from the setting; region, keys, session tokens and the endpoint of stores that are not Amazon's come from the
//! environment by the names that Amazon's own tools use (`AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...).

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::client::{CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bucket::{Bucket, Entry};
use super::io::Io;
use super::pace::Pace;

/// Bytes read from disk at a time.
const CHUNK: usize = 128 << 10;
/// Bytes of a file in memory while it is put; a larger file goes in parts of this size (S3's least is 5 MiB).
const PART: usize = 8 << 20;
/// Longest time for one request that is no stream: a part of a file over a slow network.
const REQUEST: Duration = Duration::from_secs(120);

/// An object store. See the module.
pub struct ObjectBucket {
    url: String,
    prefix: String,
    store: Arc<dyn ObjectStore>,
    io: Io,
}

impl ObjectBucket {
    /// The bucket of `s3://bucket/prefix`, with what the environment says.
    ///
    /// # Errors
    /// What is wrong with address or environment.
    pub fn open(url: &str) -> Result<Self, String> {
        Self::with(url, AmazonS3Builder::from_env())
    }

    /// As [`Self::open`] with these options instead of the environment, by the names that it would have in small letters.
    ///
    /// # Errors
    /// What is wrong with address or options.
    pub fn with_options(url: &str, options: &[(&str, &str)]) -> Result<Self, String> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in options {
            let key = name.parse().map_err(|error: object_store::Error| error.to_string())?;
            builder = builder.with_config(key, *value);
        }
        Self::with(url, builder)
    }

    fn with(url: &str, builder: AmazonS3Builder) -> Result<Self, String> {
        let wrong = |reason: String| format!("snapshots = {url}: {reason}");
        let (_, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it has to be s3://bucket/prefix".into()))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(wrong("it names no bucket; it has to be s3://bucket/prefix".into()));
        }
        let prefix = prefix.trim_matches('/');
        let options = ClientOptions::new()
            .with_timeout(REQUEST)
            .with_connect_timeout(Pace::PATIENCE)
            .with_read_timeout(Pace::PATIENCE)
            .with_allow_http(allows_http(&builder));
        let builder = builder
            .with_bucket_name(name)
            .with_client_options(options)
            .with_crypto_provider(Arc::new(Crypto));
        let store = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            url: url.into(),
            prefix: prefix.into(),
            store: Arc::new(store),
            io: Io::new("snapshot-s3").map_err(|error| wrong(error.to_string()))?,
        })
    }

    fn path(&self, name: &str) -> Path {
        match self.prefix.as_str() {
            "" => Path::from(name),
            prefix => Path::from(format!("{prefix}/{name}")),
        }
    }
}

/// An endpoint that is written with http:// is meant so.
fn allows_http(builder: &AmazonS3Builder) -> bool {
    let endpoint = builder.get_config_value(&object_store::aws::AmazonS3ConfigKey::Endpoint);
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

impl Bucket for ObjectBucket {
    fn name(&self) -> String {
        self.url.clone()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, String> {
        let path = self.path(prefix);
        let own = match self.prefix.len() {
            0 => 0,
            length => length + 1,
        };
        self.io.wait(async {
            let mut found = Vec::new();
            let mut objects = self.store.list(Some(&path));
            while let Some(object) = objects.next().await {
                let object = object.map_err(|error| error.to_string())?;
                let name = object.location.as_ref();
                let Some(name) = name.get(own..) else { continue };
                found.push(Entry {
                    name: name.into(),
                    size: object.size,
                    modified: object.last_modified.into(),
                });
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
    }

    fn read(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let mut pace = Pace::default();
        self.io.wait(async {
            let got = self
                .store
                .get(&self.path(name))
                .await
                .map_err(|error| error.to_string())?;
            let mut chunks = got.into_stream();
            loop {
                let next = tokio::time::timeout(Pace::PATIENCE, chunks.next());
                let next = next
                    .await
                    .map_err(|_| format!("nothing came in {} s", Pace::PATIENCE.as_secs()))?;
                let Some(chunk) = next else { return Ok(()) };
                let chunk = chunk.map_err(|error| error.to_string())?;
                pace.moved(chunk.len())?;
                sink(&chunk)?;
            }
        })
    }

    fn put(&self, name: &str, file: &FilePath) -> Result<(), String> {
        self.io.wait(async {
            let mut from = tokio::fs::File::open(file).await.map_err(|error| error.to_string())?;
            let mut to = BufWriter::with_capacity(self.store.clone(), self.path(name), PART);
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = from.read(&mut chunk).await.map_err(|error| error.to_string())?;
                if read == 0 {
                    return to.shutdown().await.map_err(|error| error.to_string());
                }
                to.write_all(&chunk[..read]).await.map_err(|error| error.to_string())?;
            }
        })
    }

    fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        let put = self.io.wait(self.store.put(&self.path(name), bytes.into()));
        put.map(drop).map_err(|error| error.to_string())
    }

    fn delete(&self, name: &str) -> Result<(), String> {
        match self.io.wait(self.store.delete(&self.path(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What signing a request takes, in Rust alone: the crate's own choices are two more C builds.
#[derive(Debug)]
struct Crypto;

struct Hashing(Sha256, [u8; 32]);
struct Signing(Hmac<Sha256>, [u8; 32]);

fn only_sha256(algorithm: DigestAlgorithm) -> object_store::Result<()> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(()),
        other => Err(unsupported(format!("{other:?}"))),
    }
}

fn unsupported(what: String) -> object_store::Error {
    object_store::Error::NotSupported { source: what.into() }
}

impl CryptoProvider for Crypto {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        only_sha256(algorithm)?;
        Ok(Box::new(Hashing(Sha256::new(), [0; 32])))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> object_store::Result<Box<dyn HmacContext>> {
        only_sha256(algorithm)?;
        let hmac = Hmac::new_from_slice(secret).map_err(|error| unsupported(error.to_string()))?;
        Ok(Box::new(Signing(hmac, [0; 32])))
    }

    fn sign(&self, algorithm: SigningAlgorithm, _pem: &[u8]) -> object_store::Result<Box<dyn Signer>> {
        // Google's stores only.
        Err(unsupported(format!("{algorithm:?}")))
    }
}

impl DigestContext for Hashing {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.1 = self.0.finalize_reset().into();
        Ok(&self.1)
    }
}

impl HmacContext for Signing {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.1 = self.0.clone().finalize().into_bytes().into();
        Ok(&self.1)
    }
}
