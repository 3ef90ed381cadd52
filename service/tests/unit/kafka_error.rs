use rdkafka::{
    error::KafkaError,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use service::kafka_error::{REACTIONS, Reaction, reaction, reaction_to};

#[test]
fn every_code_that_librdkafka_knows_is_in_the_table_once() {
    let known = (-200..1_000).filter_map(|number| RDKafkaRespErr::try_from(number).ok()).map(Code::from);
    let known: Vec<Code> = known.filter(|code| !matches!(code, Code::Begin | Code::End | Code::EndAll)).collect();
    assert!(known.len() > 150, "{}", known.len());
    for code in &known {
        assert_eq!(REACTIONS.iter().filter(|(listed, _)| listed == code).count(), 1, "{code:?}");
    }
    assert_eq!(REACTIONS.len(), known.len());
}

#[test]
fn temporary_errors_are_waited_for_and_permanent_ones_are_not() {
    for code in [Code::AllBrokersDown, Code::MessageTimedOut, Code::NotEnoughReplicas, Code::TopicAuthorizationFailed] {
        assert_eq!(reaction(code), Reaction::Retry);
    }
    assert_eq!(reaction(Code::MessageSizeTooLarge), Reaction::Refuse);
    assert_eq!(reaction_to(&KafkaError::MessageProduction(Code::Fatal)), Reaction::Fatal);
    assert_eq!(reaction_to(&KafkaError::ClientCreation(String::new())), Reaction::Fatal);
    assert_eq!(reaction_to(&KafkaError::Canceled), Reaction::Retry);
}
