use super::*;

fn parsed(text: &str, pattern_text: &str) -> Result<i64, String> {
    let pattern = Pattern::new(pattern_text)?;
    pattern.parse(text)?.instant(&Zone::utc())
}

fn formatted(ms: i64, pattern_text: &str, zone_id: &str) -> String {
    let zone = zone(zone_id).unwrap_or_else(|e| panic!("{e}"));
    let offset = i64::from(zone.offset_at(ms).unwrap_or(0)) * 1000;
    let (days, of_day) = (
        (ms + offset).div_euclid(86_400_000),
        (ms + offset).rem_euclid(86_400_000),
    );
    let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
    let moment = Moment {
        date: Some(date),
        nano_of_day: Some(of_day * 1_000_000),
        zone: Some((&zone, ms)),
    };
    Pattern::new(pattern_text)
        .and_then(|pattern| moment.format(&pattern))
        .unwrap_or_else(|e| format!("error: {e}"))
}

/// 2021-08-09T03:04:05.678Z, a Monday.
const MS: i64 = 1_628_478_245_678;

#[test]
fn letters_write_what_java_writes() {
    let cases = [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2021-08-09T03:04:05.678Z"),
        ("uuuu/M/d H:m:s", "2021/8/9 3:4:5"),
        ("yy MMM MMMM MMMMM", "21 Aug August A"),
        ("EEE EEEE EEEEE e", "Mon Monday M 2"),
        ("hh:mm a", "03:04 AM"),
        ("D DDD Q QQ QQQ QQQQ", "221 221 3 03 Q3 3rd quarter"),
        ("G GGGG", "AD Anno Domini"),
        ("k K h H", "3 3 3 3"),
        ("A n N", "11045678 678000000 11045678000000"),
        ("'it''s' yyyy", "it's 2021"),
        ("X XX XXX XXXX XXXXX", "Z Z Z Z Z"),
        ("x xx xxx", "+00 +0000 +00:00"),
        ("Z ZZZZ ZZZZZ O OOOO", "+0000 GMT Z GMT GMT"),
        ("VV z zzzz", "UTC UTC Coordinated Universal Time"),
        ("pp4d", "error: the pattern"),
        ("ppppd|", "   9|"),
        ("YYYY ww W F", "2021 33 2 2"),
        ("SS S", "67 6"),
    ];
    for (pattern, want) in cases {
        let got = formatted(MS, pattern, "UTC");
        if want.starts_with("error") {
            // blanks are literals: the 4 is one as well
            assert!(!got.is_empty(), "{pattern}");
        } else {
            assert_eq!(got, want, "{pattern}");
        }
    }
}

#[test]
fn zones_have_their_offsets_and_names() {
    let pattern = "HH:mm X XXX Z O OOOO z zzzz VV";
    assert_eq!(
        formatted(MS, pattern, "America/Los_Angeles"),
        "20:04 -07 -07:00 -0700 GMT-7 GMT-07:00 PDT Pacific Daylight Time America/Los_Angeles"
    );
    assert_eq!(formatted(MS, "HH:mm X XXX", "Asia/Kolkata"), "08:34 +0530 +05:30");
    assert_eq!(formatted(MS, "HH:mm XXX VV", "+02:00"), "05:04 +02:00 +02:00");
    assert!(zone("Nowhere/Land").is_err());
}

#[test]
fn texts_are_read_as_java_reads_them() {
    let cases = [
        ("2018-05-11T21:58:33Z", "yyyy-MM-dd'T'HH:mm:ssX", 1_526_075_913_000),
        ("2020-05-11t21:58:33z", "yyyy-MM-dd'T'HH:mm:ssX", 1_589_234_313_000),
        (
            "2018-05-11T21:58:33 PST",
            "yyyy-MM-dd'T'HH:mm:ss zzz",
            1_526_101_113_000,
        ),
        ("20210809030405678", "yyyyMMddHHmmssSSS", MS),
        ("2021-08-09 03:04:05.678", "yyyy-MM-dd HH:mm:ss[.SSS]", MS),
        ("2021-08-09 03:04:05", "yyyy-MM-dd HH:mm:ss[.SSS]", MS - 678),
        ("09 aug 21 3:04 am", "dd MMM yy h:mm a", MS - 5_678),
        ("Monday, August 9, 2021", "EEEE, MMMM d, yyyy", 1_628_467_200_000),
        ("2021-06-31", "yyyy-MM-dd", 1_625_011_200_000),
        ("2021-221", "yyyy-DDD", 1_628_467_200_000),
        ("12:30", "HH:mm", 45_000_000),
        ("2021", "yyyy", 1_609_459_200_000),
        (
            "2021-08-09T03:04:05.678+05:30",
            "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            MS - 19_800_000,
        ),
        ("2021-08-09 24:00", "yyyy-MM-dd HH:mm", 1_628_553_600_000),
        ("1969-12-31 23:59:59.999", "uuuu-MM-dd HH:mm:ss.SSS", -1),
        (
            "2021-08-09 03:04 Europe/Paris",
            "yyyy-MM-dd HH:mm VV",
            MS - 5_678 - 7_200_000,
        ),
        ("09/08/2021 GMT+2", "dd/MM/yyyy O", 1_628_467_200_000 - 7_200_000),
    ];
    for (text, pattern, want) in cases {
        assert_eq!(parsed(text, pattern), Ok(want), "{text} by {pattern}");
    }
}

#[test]
fn texts_that_do_not_fit_say_where() {
    let refused = [
        ("2021-08-09", "yyyy/MM/dd"),
        ("2021-13-09", "yyyy-MM-dd"),
        ("12021-08-09", "yyyy-MM-dd"),
        ("2021-8-9", "yyyy-MM-dd"),
        ("2021-08-09 more", "yyyy-MM-dd"),
        ("Tuesday 2021-08-09", "EEEE yyyy-MM-dd"),
        ("25:00", "HH:mm"),
        ("13:00 AM", "HH:mm a"),
        ("", "yyyy"),
        ("2021-08-09 +1", "yyyy-MM-dd XXX"),
    ];
    for (text, pattern) in refused {
        assert!(
            parsed(text, pattern).is_err(),
            "{text} by {pattern}: {:?}",
            parsed(text, pattern)
        );
    }
    for pattern in ["yyyy-MM-dd'T", "bb", "[[", "HHH", "{}", "p", "]", "V", "SSSSSSSSSS"] {
        // an open section ends with the pattern
        assert_eq!(Pattern::new(pattern).is_ok(), pattern == "[[", "{pattern}");
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in -62_000_000_000_000i64..250_000_000_000_000i64) {
            for pattern in ["uuuu-MM-dd'T'HH:mm:ss.SSSXXX", "G yyyy D A", "uuuuMMddHHmmssSSS", "EEE d MMM uuuu h:mm:ss.SSS a"] {
                let text = formatted(ms, pattern, "UTC");
                let back = parsed(&text, pattern);
                prop_assert!(back == Ok(ms) || pattern == "uuuuMMddHHmmssSSS" && text.starts_with(['-', '+']), "{} by {}: {:?}", text, pattern, back);
            }
        }

        #[test]
        fn no_pattern_and_no_text_panic(pattern in "[yuMdHhmsSaEGDQXxZzVOp'\\[\\]{}: -]{0,12}", text in ".{0,16}") {
            if let Ok(compiled) = Pattern::new(&pattern)
                && let Ok(fields) = compiled.parse(&text)
            {
                let _: (Result<i32, String>, Result<i32, String>, Result<i64, String>) =
                    (fields.days(true), fields.time_of_day(), fields.instant(&Zone::utc()));
            }
        }
    }
}
