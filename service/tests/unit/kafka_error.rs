use rdkafka::{
    error::KafkaError,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use service::kafka_error::{VERDICTS, Verdict, verdict, verdict_on};

#[test]
fn every_code_that_librdkafka_knows_is_in_the_table_once() {
    let known = (-200..1_000).filter_map(|number| RDKafkaRespErr::try_from(number).ok()).map(Code::from);
    let known: Vec<Code> = known.filter(|code| !matches!(code, Code::Begin | Code::End | Code::EndAll)).collect();
    assert!(known.len() > 150, "{}", known.len());
    for code in &known {
        assert_eq!(VERDICTS.iter().filter(|(listed, _)| listed == code).count(), 1, "{code:?}");
    }
    assert_eq!(VERDICTS.len(), known.len());
}

#[test]
fn what_heals_is_waited_for_and_what_never_works_is_not() {
    for code in [Code::AllBrokersDown, Code::MessageTimedOut, Code::NotEnoughReplicas, Code::TopicAuthorizationFailed] {
        assert_eq!(verdict(code), Verdict::Retry);
    }
    assert_eq!(verdict(Code::MessageSizeTooLarge), Verdict::Refuse);
    assert_eq!(verdict_on(&KafkaError::MessageProduction(Code::Fatal)), Verdict::Fatal);
    assert_eq!(verdict_on(&KafkaError::ClientCreation(String::new())), Verdict::Fatal);
    assert_eq!(verdict_on(&KafkaError::Canceled), Verdict::Retry);
}
