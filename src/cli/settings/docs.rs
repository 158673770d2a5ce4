//! `docs/settings.md` from the table. A test compares the committed page with this text.

use std::fmt::Write as _;

use super::{Kind, SETTINGS};

/// The page.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for setting in SETTINGS {
        let variable = match setting.kind {
            Kind::Property => format!("{}_...", setting.variable()),
            _ => setting.variable(),
        };
        let default = setting.default.map_or_else(|| "-".to_owned(), |d| format!("`{d}`"));
        let kind = setting.kind.describe();
        let commands = setting.commands.join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "### `{}`\n\n{}\n\n| value | default | environment | flag of |\n|---|---|---|---|\n| {kind} | {default} | `{variable}` | {commands} |\n",
            setting.name, setting.help
        );
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

const INTRODUCTION: &str = "\
# Settings

Made by `make docs` from the table in `src/cli/settings/table.rs`; do not edit it by hand.

A setting has the same name everywhere. `commit-interval` is the flag `--commit-interval 100ms`, the environment variable
`MILLSTREAM_COMMIT_INTERVAL=100ms` and the line `commit-interval = \"100ms\"` of `millstream.toml`. The later wins: file, then environment, then
flags. An unknown name or a bad value stops the start with all such problems at once, each with its place.

Times are written `100ms`, `10s`, `5m`, `1h`, `7d`; sizes `1000000`, `64MiB`, `1GB`; lists `a,b` (in the file also `[\"a\", \"b\"]`).

Whatever librdkafka can be told passes through: `--kafka-property security.protocol=SASL_SSL`, or in the file

```toml
[kafka-property]
\"security.protocol\" = \"SASL_SSL\"
\"sasl.mechanism\" = \"SCRAM-SHA-512\"
\"sasl.username\" = \"millstream\"
```

with the password in `MILLSTREAM_KAFKA_PROPERTY_SASL_PASSWORD` (dots become underscores).

";
