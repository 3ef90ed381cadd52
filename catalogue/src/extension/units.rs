//! Units that a catalogue file adds, and spellings of built-in units.

use std::collections::BTreeSet;

use super::{
    addition::Addition,
    fault::{ExtensionError, Place, meant},
    ucum::{self, Linear},
};
use crate::{
    decimal::Conversion,
    file::{UnitEntry, UnitFile},
    index::SPELLING_BYTES_MAX,
    unit::{Unit, Units},
};

/// Adds the units of a catalogue file to those of the built-in catalogue.
pub(super) struct Merge<'m> {
    built_in: &'m Units,
    file: &'m mut UnitFile,
    additions: &'m mut Vec<Addition>,
    /// The units that the file has named.
    named: BTreeSet<String>,
    claims: Vec<Claim>,
}

/// A spelling that the file gives to a unit.
struct Claim {
    spelling: String,
    how: Match,
    line: usize,
}

/// How a spelling is matched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Exactly,
    InAnyCase,
}

impl Claim {
    /// Whether a word could mean both.
    fn is_ambiguous_with(&self, spelling: &str, how: Match) -> bool {
        match (self.how, how) {
            (Match::Exactly, Match::Exactly) => self.spelling == spelling,
            (Match::InAnyCase, _) | (_, Match::InAnyCase) => self.spelling.eq_ignore_ascii_case(spelling),
        }
    }
}

impl<'m> Merge<'m> {
    pub(super) fn new(built_in: &'m Units, file: &'m mut UnitFile, additions: &'m mut Vec<Addition>) -> Self {
        Self { built_in, file, additions, named: BTreeSet::new(), claims: Vec::new() }
    }

    /// Adds an entry of the file. Returns the property of a new unit.
    pub(super) fn add(&mut self, entry: UnitEntry, place: &Place) -> Result<Option<String>, ExtensionError> {
        if !self.named.insert(entry.ucum.clone()) {
            return Err(place.fault("the file has two entries for this unit", "put both into one entry"));
        }
        match self.built_in.all.iter().position(|unit| unit.ucum == entry.ucum) {
            Some(position) => self.extend(position, entry, place).map(|()| None),
            None => self.introduce(entry, place).map(Some),
        }
    }

    /// Adds spellings to a built-in unit.
    fn extend(&mut self, position: usize, entry: UnitEntry, place: &Place) -> Result<(), ExtensionError> {
        let known = self.built_in.all.get(position);
        let is_same = |known: &Unit| {
            entry.property.as_ref().is_none_or(|property| *property == known.property)
                && entry.to_base.is_none_or(|to_base| conversion(to_base) == Some(known.to_base))
        };
        if let Some(known) = known.filter(|known| !is_same(known)) {
            let (factor, shift, divisor) = known.to_base.parts();
            let is = format!("property = {:?} and to_base = [{factor}, {shift}, {divisor}]", known.property);
            let fault = format!("the unit is built in, with {is}, and a file cannot change that");
            return Err(place.fault(fault, "leave out property and to_base; exact and names add spellings"));
        }
        let exact = self.spellings(entry.exact, Match::Exactly, Some(position), place)?;
        let names = self.spellings(entry.names, Match::InAnyCase, Some(position), place)?;
        for spelling in exact.iter().chain(&names) {
            self.additions.push(Addition::UnitSpelling { unit: entry.ucum.clone(), spelling: spelling.clone() });
        }
        if let Some(unit) = self.file.unit.get_mut(position) {
            unit.exact.extend(exact);
            unit.names.extend(names);
        }
        Ok(())
    }

    /// Adds a new unit. Returns its property.
    fn introduce(&mut self, entry: UnitEntry, place: &Place) -> Result<String, ExtensionError> {
        let UnitEntry { ucum, property, to_base, exact, names } = entry;
        self.claim(&ucum, Match::Exactly, None, place)?;
        if !ucum::is_unit(&ucum) {
            return Err(place.fault("this is not a unit of UCUM", "write its UCUM code, as mm[Hg], [lb_av] or mg/dL"));
        }
        let property = property.ok_or_else(|| {
            place.fault("a new unit needs the property that it measures", self.proposed_property(&ucum))
        })?;
        self.converts(&ucum, &property, to_base.unwrap_or([1, 0, 1]), place)?;
        let exact = self.spellings(exact, Match::Exactly, None, place)?;
        let names = self.spellings(names, Match::InAnyCase, None, place)?;
        self.additions.push(Addition::Unit { unit: ucum.clone(), property: property.clone() });
        for spelling in exact.iter().chain(&names) {
            self.additions.push(Addition::UnitSpelling { unit: ucum.clone(), spelling: spelling.clone() });
        }
        self.file.unit.push(UnitEntry { ucum, property: Some(property.clone()), to_base, exact, names });
        Ok(property)
    }

    /// Checks the conversion of a new unit into the base unit of its property against UCUM.
    fn converts(&self, unit: &str, property: &str, to_base: [i64; 3], place: &Place) -> Result<(), ExtensionError> {
        let of_property = || self.file.unit.iter().filter(|known| known.property.as_deref() == Some(property));
        let Some(base) = of_property().find(|known| is_identity(known.to_base.unwrap_or([1, 0, 1]))) else {
            return self.is_base(unit, property, to_base, place);
        };
        let base = &base.ucum;
        let Some(linear) = Linear::between(unit, base) else {
            let fault = format!("UCUM does not convert it into {base}, the base unit of {property}");
            return Err(place.fault(fault, self.proposed_property(unit)));
        };
        if linear.is(to_base) {
            return Ok(());
        }
        let way_out = match linear.to_base() {
            Some([factor, shift, divisor]) => format!("write to_base = [{factor}, {shift}, {divisor}]"),
            None => "write the exact fraction as to_base = [factor, shift, divisor]".to_owned(),
        };
        let exact = linear.of_one().map_or_else(String::new, |one| format!(": by UCUM, 1 {unit} is {one} {base}"));
        Err(place.fault(format!("the conversion into {base} is not exact{exact}"), way_out))
    }

    /// Checks that the first unit of a new property may be its base unit.
    fn is_base(&self, unit: &str, property: &str, to_base: [i64; 3], place: &Place) -> Result<(), ExtensionError> {
        // Plain numbers convert into each other for UCUM, but a count is not a share.
        if let Some(like) = self.comparable(unit).filter(|_| !ucum::is_number(unit)) {
            let of = like.property.as_deref().unwrap_or_default();
            let fault = format!("UCUM converts it into {}, whose property is {of}", like.ucum);
            return Err(place.fault(fault, format!("write property = {of:?}, with to_base")));
        }
        if is_identity(to_base) {
            return Ok(());
        }
        let fault = format!("the property {property} is new, so its first unit is its base unit");
        Err(place.fault(fault, "leave out to_base, or put the base unit first"))
    }

    fn comparable(&self, unit: &str) -> Option<&UnitEntry> {
        self.file.unit.iter().find(|known| ucum::is_comparable(unit, &known.ucum))
    }

    fn proposed_property(&self, unit: &str) -> String {
        match self.comparable(unit) {
            Some(like) => format!("{} has property = {:?}", like.ucum, like.property.as_deref().unwrap_or_default()),
            None => "no unit is like it: give it a property of its own, and no to_base".to_owned(),
        }
    }

    /// Returns the spellings that are new.
    fn spellings(
        &mut self,
        spellings: Vec<String>,
        how: Match,
        of: Option<usize>,
        place: &Place,
    ) -> Result<Vec<String>, ExtensionError> {
        let mut new = Vec::new();
        for spelling in spellings {
            if self.claim(&spelling, how, of, place)? {
                new.push(spelling);
            }
        }
        Ok(new)
    }

    /// Checks that no other unit has a spelling. Returns whether it is new. `of` is the built-in unit that it is given to.
    fn claim(&mut self, spelling: &str, how: Match, of: Option<usize>, place: &Place) -> Result<bool, ExtensionError> {
        check_word(spelling, place)?;
        let in_any_case = || (how == Match::InAnyCase).then(|| self.exactly_of_another(spelling, of)).flatten();
        let owner = self.built_in.position(spelling).or_else(in_any_case);
        match owner.and_then(|owner| self.built_in.all.get(owner)) {
            Some(_) if owner == of => return Ok(false),
            Some(unit) => {
                let fault = format!("'{spelling}' is read as the built-in unit {} already", unit.ucum);
                return Err(place.fault(fault, "leave it out, or use that unit"));
            }
            None => {}
        }
        let is_of_another = |claim: &Claim| claim.line != place.line || claim.spelling == spelling;
        let mut ambiguous = self.claims.iter().filter(|claim| claim.is_ambiguous_with(spelling, how));
        if let Some(claim) = ambiguous.find(|claim| is_of_another(claim)) {
            let fault = format!("'{spelling}' is a spelling in line {} too", claim.line);
            return Err(place.fault(fault, "leave one of them out"));
        }
        self.claims.push(Claim { spelling: spelling.to_owned(), how, line: place.line });
        Ok(true)
    }

    /// Returns a built-in unit, other than `of`, that has this spelling in another case and is matched exactly, as `mS` and `ms` are.
    fn exactly_of_another(&self, spelling: &str, of: Option<usize>) -> Option<usize> {
        let mut units = self.built_in.all.iter().enumerate().filter(|(position, _)| Some(*position) != of);
        let is_like = |unit: &Unit| {
            std::iter::once(&unit.ucum).chain(&unit.exact).any(|exact| exact.eq_ignore_ascii_case(spelling))
        };
        units.find(|(_, unit)| is_like(unit)).map(|(position, _)| position)
    }
}

/// Checks that a lookup can find a spelling.
pub(super) fn check_word(word: &str, place: &Place) -> Result<(), ExtensionError> {
    if word.is_empty() || word.trim_ascii() != word || word.len() > SPELLING_BYTES_MAX {
        let fault = format!(
            "the spelling '{word}' is empty, has a space at an end, or is longer than {SPELLING_BYTES_MAX} bytes"
        );
        return Err(place.fault(fault, "write it as the source does"));
    }
    Ok(())
}

/// Checks that a unit that an entry names is the UCUM code of a known unit.
pub(super) fn check_known(unit: &str, units: &[UnitEntry], place: &Place) -> Result<(), ExtensionError> {
    if units.iter().any(|known| known.ucum == unit) {
        return Ok(());
    }
    let spelled =
        units.iter().find(|known| known.exact.iter().chain(&known.names).any(|word| word.eq_ignore_ascii_case(unit)));
    let codes: Vec<&str> = units.iter().map(|known| known.ucum.as_str()).collect();
    let way_out = match spelled {
        Some(known) => format!("write {}", known.ucum),
        None => meant(unit, &codes).unwrap_or_else(|| "add it above, in a `[[unit]]` of its own".to_owned()),
    };
    Err(place.fault(format!("the catalogue has no unit {unit}"), way_out))
}

fn conversion([factor, shift, divisor]: [i64; 3]) -> Option<Conversion> {
    Conversion::new(factor.into(), shift.into(), divisor.into())
}

fn is_identity(to_base: [i64; 3]) -> bool {
    conversion(to_base).is_some_and(|conversion| conversion.is_identity())
}
