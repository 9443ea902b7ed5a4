use super::*;

#[test]
fn comments_and_strings_are_not_code() {
    let source = Source::parse("let a = \"std::x\"; // std::y\n/* std::z /* nested */ */ std::w");
    assert_eq!(source.find("std::").count(), 1);
    assert!(source.notes.contains("std::y") && source.notes.contains("nested"));
    assert!(!source.notes.contains("std::x"));
}

#[test]
fn raw_strings_characters_and_lifetimes() {
    let source =
        Source::parse("r#\"a \" // no\"# '\"' '\\'' b\"x\" fn f<'a>(x: &'a str) { \"}\" }");
    assert_eq!(source.functions(), [(source.code.find("fn").unwrap(), "f")]);
    assert!(source.notes.trim().is_empty());
    assert!(source.code.contains("<'a>(x: &'a str)"));
}

#[test]
fn offsets_survive_letters_of_several_bytes() {
    let text = "// 飛脚\nlet x = '飛'; \"脚\" here";
    let source = Source::parse(text);
    assert_eq!(source.code.len(), text.len());
    assert_eq!(source.code.find("here"), text.find("here"));
    assert_eq!(source.line(text.find("here").unwrap()), 2);
}

#[test]
fn whole_words_only() {
    let source = Source::parse("mythread::sleep; thread::sleeper; thread::sleep(x)");
    assert_eq!(source.find("thread::sleep").count(), 1);
}

#[test]
fn use_trees_are_written_out() {
    let source = Source::parse("pub use a::{b, c::{d as e, *}};\npub(crate) use f::g;\nuse h;");
    let uses = source.uses();
    assert_eq!(uses[0].paths, ["a::b", "a::c::d", "a::c::*"]);
    assert!(uses[0].public && !uses[1].public && !uses[2].public);
    assert_eq!(uses[1].paths, ["f::g"]);
    assert_eq!(uses.len(), 3);
}

#[test]
fn test_items_end_where_the_item_ends() {
    let source = Source::parse(
        "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(all(test, not(loom)))]\n#[allow(x)]\nmod b { fn c() {} }\nfn d() {}\n\
         #[cfg(not(test))]\nfn e() {}\nstruct S { #[cfg(test)] seen: u8, real: u8 }\n#[cfg(any(test, loom))]\nfn g() {}",
    );
    let in_test = |word: &str| source.in_test(source.find(word).next().unwrap());
    assert_eq!(source.test_modules(), ["tests"]);
    assert!(in_test("c") && in_test("seen"));
    assert!(!in_test("a") && !in_test("d") && !in_test("e") && !in_test("real") && !in_test("g"));
}

#[test]
fn attributes_are_found_past_comments_and_qualifiers() {
    let source =
        Source::parse("fn z() {}\n#[test]\n// why\n#[cfg(x)]\npub(crate) async unsafe fn a() {}");
    let (at, name) = source.functions()[1];
    assert_eq!((name, source.attributes(at)), ("a", vec!["cfg(x)", "test"]));
    assert!(source.attributes(source.functions()[0].0).is_empty());
}

#[test]
fn bodies_of_macros_are_known() {
    let source =
        Source::parse("macro_rules! m { () => { fn a() {} } }\nfn b() {}\nproptest! { fn c() {} }");
    let inside: Vec<bool> = source
        .functions()
        .iter()
        .map(|(at, _)| source.in_macro(*at))
        .collect();
    assert_eq!(inside, [true, false, true]);
}
