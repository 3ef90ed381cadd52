use std::io::{BufRead as _, ErrorKind, Read as _};

use service::capped::Capped;

#[test]
fn no_more_than_the_limit_is_read_between_two_renewals() {
    let mut capped = Capped::new(&b"abcdefgh"[..], 3);
    let mut two = [0; 2];
    assert_eq!((capped.read(&mut two).unwrap(), &two), (2, b"ab"));
    assert_eq!((capped.read(&mut two).unwrap(), two[0]), (1, b'c'), "one byte is left");
    assert!(!capped.exceeded());
    assert_eq!(capped.read(&mut two).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert!(capped.exceeded());
    capped.renew();
    assert_eq!(capped.fill_buf().unwrap(), b"def");
    capped.consume(3);
    assert!(capped.fill_buf().is_err());
    capped.renew();
    let mut rest = Vec::new();
    assert_eq!((capped.read_to_end(&mut rest).unwrap(), rest.as_slice()), (2, &b"gh"[..]), "the input ends first");
}
