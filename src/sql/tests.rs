mod write_topic;

use super::*;
#[test]
fn first() {
    let file = SourceFile {
        name: "topologies/ratings.sql".into(),
        text: include_str!("tests/ratings.sql").into(),
    };
    match compile(&file, &CompileContext { schemas: &NoSchemas }) {
        Ok(t) => assert_eq!(t.views.len(), 3),
        Err(all) => {
            for d in all {
                println!("{d}");
            }
            panic!()
        }
    }
}
