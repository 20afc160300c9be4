//! Walking lists, objects and enum variants, noting the place of each error.

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::{Map, Value};

use super::error::Error;
use super::reader::Reader;

/// The items of a list.
pub(super) struct Items<'de> {
    items: std::slice::Iter<'de, Value>,
    index: usize,
}

impl<'de> Items<'de> {
    /// A visitor that leaves items unread (a tuple) is given an error.
    pub(super) fn visit<V: Visitor<'de>>(
        items: &'de [Value],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut access = Items { items: items.iter(), index: 0 };
        let value = visitor.visit_seq(&mut access)?;
        if access.items.len() > 0 {
            let expected = format!("no more than {}", access.index);
            return Err(Error::invalid_length(items.len(), &expected.as_str()));
        }
        Ok(value)
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Reader(item)).map(Some).map_err(|error| error.at_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The members of an object, under the names that the visitor knows them by.
pub(super) struct Members<'de> {
    members: std::vec::IntoIter<Member<'de>>,
    current: Option<Member<'de>>,
}

#[derive(Clone, Copy)]
struct Member<'de> {
    /// As the document has it.
    key: &'de str,
    /// As the visitor has it.
    name: &'de str,
    value: &'de Value,
}

impl<'de> Members<'de> {
    pub(super) fn of_map(object: &'de Map<String, Value>) -> Self {
        let members = object.iter().map(|(key, value)| Member { key, name: key, value });
        Self::new(members.collect())
    }

    /// `null` has no effect on a field, whatever its type: it is left out.
    pub(super) fn of_struct(
        object: &'de Map<String, Value>,
        fields: &'static [&'static str],
    ) -> Self {
        let mut members: Vec<Member<'de>> = Vec::with_capacity(object.len());
        for (key, value) in object {
            let Some(name) = field_name(fields, key) else {
                members.push(Member { key, name: key, value });
                continue;
            };
            if value.is_null() {
                continue;
            }
            match members.iter_mut().find(|member| member.name == name) {
                Some(earlier) if earlier.key == name => {}
                Some(earlier) => *earlier = Member { key, name, value },
                None => members.push(Member { key, name, value }),
            }
        }
        Self::new(members)
    }

    fn new(members: Vec<Member<'de>>) -> Self {
        Self { members: members.into_iter(), current: None }
    }
}

fn field_name(fields: &'static [&'static str], key: &str) -> Option<&'static str> {
    let exact = fields.iter().find(|field| **field == key);
    exact.or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(key))).copied()
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.members.next();
        let Some(member) = self.current else {
            return Ok(None);
        };
        let name: BorrowedStrDeserializer<'de, Error> = BorrowedStrDeserializer::new(member.name);
        seed.deserialize(name).map(Some).map_err(|error| error.about_text(member.key, "a key"))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(member) = self.current else {
            return Err(Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader(member.value)).map_err(|error| error.at_key(member.key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.members.len())
    }
}

/// `{"variant": content}`.
pub(super) struct Variant<'de> {
    pub(super) key: &'de str,
    pub(super) value: &'de Value,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.key.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Reader(self.value)).map_err(|error| error.at_key(self.key))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        let reader = Reader(self.value);
        reader.deserialize_tuple(length, visitor).map_err(|error| error.at_key(self.key))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let reader = Reader(self.value);
        reader.deserialize_struct("", fields, visitor).map_err(|error| error.at_key(self.key))
    }
}
