//! The five tables of master data.

use std::fmt;

/// A table of schema `smp_global` that is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// ISO 4217.
    Currencies,
    /// ISO 3166-1.
    Countries,
    /// What one unit of a currency is worth, from a time on.
    CurrencyRates,
    /// A country's taxes, from a day on.
    TaxConfigs,
    /// The interface's texts.
    I18nTranslations,
}

impl Table {
    /// All of them, referred-to tables first.
    pub const ALL: [Self; 5] = [
        Self::Currencies,
        Self::Countries,
        Self::CurrencyRates,
        Self::TaxConfigs,
        Self::I18nTranslations,
    ];

    /// The table's name within the schema.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Currencies => "currencies",
            Self::Countries => "countries",
            Self::CurrencyRates => "currency_rates",
            Self::TaxConfigs => "tax_configs",
            Self::I18nTranslations => "i18n_translations",
        }
    }

    /// The table of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
