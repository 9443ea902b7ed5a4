use super::{measure, shrink};

type Fails = fn(&[u32]) -> bool;

fn noise(length: u32) -> Vec<u32> {
    (0..length)
        .map(|n| n.wrapping_mul(0x9e37_79b9) >> 29)
        .collect()
}

#[test]
fn what_fails_gets_as_short_as_it_can() {
    let cases: [(&str, Fails, &[u32]); 5] = [
        ("always", |_| true, &[]),
        (
            "one large number",
            |values| values.iter().any(|it| *it > 4),
            &[5],
        ),
        (
            "at its place",
            |values| values.get(3).is_some_and(|it| *it > 1),
            &[0, 0, 0, 2],
        ),
        (
            "two, in this order",
            |values| {
                let first = values.iter().position(|it| *it == 3);
                first.is_some_and(|first| values[first..].contains(&6))
            },
            &[3, 6],
        ),
        // No single number can be left out or made smaller.
        ("a sum", |values| values.iter().sum::<u32>() >= 7, &[1, 6]),
    ];
    for (name, fails, shortest) in cases {
        let values = noise(200);
        assert!(fails(&values), "{name}");
        let found = shrink(values, 5000, |values| {
            fails(values).then(|| values.to_vec())
        });
        assert!(fails(&found), "{name}: {found:?}");
        assert_eq!(found, shortest, "{name}");
    }
}

#[test]
fn it_stops_when_it_has_used_up_its_runs() {
    let mut runs = 0;
    let values = noise(500);
    let found = shrink(values.clone(), 20, |values| {
        runs += 1;
        (values.iter().filter(|it| **it == 7).count() > 10).then(|| values.to_vec())
    });
    assert_eq!(runs, 20);
    assert!(measure(&found) <= measure(&values));
}

#[test]
fn what_was_decided_in_fact_counts() {
    // A run in which no decision has more than two choices.
    let found = shrink(noise(100), 1000, |values| {
        let made: Vec<u32> = values.iter().map(|it| (*it).min(1)).collect();
        (made.iter().sum::<u32>() >= 3).then_some(made)
    });
    assert_eq!(found, [1, 1, 1]);
}
