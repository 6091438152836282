//! What differs between two texts.

/// The lines that differ, as `diff` shows them: `-` went, `+` came.
#[must_use]
pub fn diff(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let (mut old, mut new) = (before.as_slice(), after.as_slice());
    while let ([one, rest @ ..], [other, others @ ..]) = (old, new)
        && one == other
    {
        (old, new) = (rest, others);
    }
    while let ([rest @ .., one], [others @ .., other]) = (old, new)
        && one == other
    {
        (old, new) = (rest, others);
    }
    let common = common_lines(old, new);
    let mut lines = Vec::new();
    for line in common.iter().map(Some).chain([None]) {
        // All up to the next line that both have.
        while let [one, rest @ ..] = old
            && Some(one) != line
        {
            lines.push(format!("-{one}"));
            old = rest;
        }
        while let [other, others @ ..] = new
            && Some(other) != line
        {
            lines.push(format!("+{other}"));
            new = others;
        }
        old = old.get(1..).unwrap_or_default();
        new = new.get(1..).unwrap_or_default();
    }
    lines
}

/// As many lines as both have in the same order. Takes as much time as the product of their numbers, so the ends that
/// they share are not given to it.
fn common_lines<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<&'t str> {
    // lengths[i][j]: how many lines the rests from i and from j on have in common.
    let mut lengths = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    let at = |lengths: &[Vec<usize>], i: usize, j: usize| {
        let row = lengths.get(i);
        row.and_then(|row| row.get(j)).copied().unwrap_or_default()
    };
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let length = if one == other {
                at(&lengths, i + 1, j + 1) + 1
            } else {
                at(&lengths, i + 1, j).max(at(&lengths, i, j + 1))
            };
            if let Some(cell) = lengths.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut common = Vec::new();
    while let (Some(one), Some(other)) = (old.get(i), new.get(j)) {
        if one == other {
            common.push(*one);
            (i, j) = (i + 1, j + 1);
        } else if at(&lengths, i + 1, j) >= at(&lengths, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_or_went_is_shown_though_the_same_lines_stand_further_down() {
        let block = |id: &str| format!("[{id}]\nstate = \"open\"\nspool = \"off\"\n\n");
        let (asia, us, staging) = (block("asia"), block("us"), block("staging"));
        let with = format!("{asia}{us}{staging}");
        let without = format!("{asia}{staging}");
        let block = ["[us]", "state = \"open\"", "spool = \"off\"", ""];
        assert_eq!(diff(&without, &with), block.map(|line| format!("+{line}")));
        assert_eq!(diff(&with, &without), block.map(|line| format!("-{line}")));
    }

    #[test]
    fn what_was_replaced_goes_before_it_comes_and_equal_texts_differ_in_nothing() {
        assert_eq!(diff("a\nb\nc\n", "a\nB\nc\n"), ["-b", "+B"]);
        assert_eq!(
            diff("a\nb\nc\nd\n", "A\nb\nC\nd\n"),
            ["-a", "+A", "-c", "+C"]
        );
        assert_eq!(diff("a\nb\n", "b\na\n").len(), 2);
        assert!(diff("a\n", "a\n").is_empty());
        assert_eq!(diff("", "a\n"), ["+a"]);
        assert_eq!(diff("a\n", ""), ["-a"]);
    }
}
