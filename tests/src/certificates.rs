//! An authority of a test's own, with a certificate for a server and one for its clients.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// Files in PEM.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) server: Pair,
    pub(crate) client: Pair,
}

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// New ones in a folder; the server's is for these addresses.
    pub(crate) fn make(folder: &Path, addresses: Vec<String>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = named("authority", Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = folder.join("ca.pem");
        fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let signed = |name: &str, addresses: Vec<String>| {
            let key = KeyPair::generate().unwrap();
            let mut params = named(name, addresses);
            // etcd asks itself with the server's certificate.
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let pair = Pair {
                certificate: folder.join(format!("{name}.pem")),
                key: folder.join(format!("{name}.key")),
            };
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(&pair.certificate, certificate.pem()).unwrap();
            fs::write(&pair.key, key.serialize_pem()).unwrap();
            pair
        };
        Self { server: signed("server", addresses), client: signed("client", Vec::new()), ca }
    }
}

fn named(name: &str, addresses: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(addresses).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
