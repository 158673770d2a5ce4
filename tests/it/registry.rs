//! A registry behind TLS with a certificate of a private authority: OpenSSL's own server, which gives out files as answers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use millstream::formats::SchemaSource;
use millstream::formats::client::{ClientSettings, HttpRegistry};

use crate::patience::eventually;

const SCHEMA: &str = r#"{"subject":"words-value","version":1,"id":7,"schema":"{\"type\":\"record\",\"name\":\"W\",\"fields\":[{\"name\":\"word\",\"type\":\"string\"}]}"}"#;

/// OpenSSL's server over a directory, ended when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-cert",
                "cert.pem",
                "-key",
                "key.pem",
                "-HTTP",
            ])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl, which scripts/setup.sh installs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = eventually("its address", || {
            let line = lines.next()?.expect("a line");
            line.strip_prefix("ACCEPT ").map(str::to_owned)
        });
        // what it says about requests must not fill the pipe
        std::thread::spawn(move || lines.count());
        Self {
            child,
            url: format!("https://{address}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("openssl, which scripts/setup.sh installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_registry_of_a_private_authority_is_trusted_when_told_so() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("registry-tls-{}", std::process::id()));
    let answers = directory.join("subjects/words-value/versions");
    std::fs::create_dir_all(&answers).expect("a directory");
    let answer = format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{SCHEMA}");
    std::fs::write(answers.join("latest"), answer).expect("written");
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(
        &directory,
        &format!("{new} -subj /CN=authority -keyout ca.key -out ca.pem"),
    );
    openssl(
        &directory,
        &format!(
            "{new} -subj /CN=registry -addext subjectAltName=IP:127.0.0.1 -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem"
        ),
    );
    let server = Server::start(&directory);

    let refused = HttpRegistry::new(&ClientSettings::new(&server.url)).expect("valid");
    let error = refused
        .latest("words-value")
        .expect_err("an unknown authority")
        .to_string();
    assert!(error.contains("certificate"), "{error}");
    let trusting = ClientSettings {
        ca_file: Some(directory.join("ca.pem")),
        ..ClientSettings::new(&server.url)
    };
    let found = HttpRegistry::new(&trusting).expect("valid").latest("words-value");
    assert_eq!(found.expect("an answer").expect("a schema").id, 7);

    // and the program, told by its settings
    let sql = directory.join("words.sql");
    let text = "CREATE STREAM words WITH (KAFKA_TOPIC = 'words', VALUE_FORMAT = 'AVRO');\n\
                CREATE STREAM loud AS SELECT UCASE(word) AS word FROM words;\n";
    std::fs::write(&sql, text).expect("written");
    let check = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command
            .arg("check")
            .arg(&sql)
            .args(["--schema-registry", &server.url])
            .args(flags);
        let output = command.current_dir(&directory).output().expect("it runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (done, said) = check(&["--schema-registry-ca", "ca.pem"]);
    assert!(done, "{said}");
    let (done, said) = check(&[]);
    assert!(!done && said.contains("certificate"), "{said}");
    drop(std::fs::remove_dir_all(&directory));
}
