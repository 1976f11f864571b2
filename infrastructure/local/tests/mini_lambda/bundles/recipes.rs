//! What is fetched, the function that uses it, and what that must answer.

/// A package to be made.
#[derive(Debug)]
pub struct Recipe {
    pub name: &'static str,
    pub ecosystem: Ecosystem,
    /// Names and versions, as the ecosystem's tool reads them.
    pub requirements: &'static [&'static str],
    /// The function, in `index.py` or `index.js`.
    pub source: &'static str,
    /// JSON.
    pub event: &'static str,
    /// JSON.
    pub output: &'static str,
}

/// Where dependencies come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecosystem {
    PyPi,
    Npm,
}

impl Recipe {
    pub const fn runtime(&self) -> &'static str {
        match self.ecosystem {
            Ecosystem::PyPi => "python3.11",
            Ecosystem::Npm => "nodejs20",
        }
    }

    pub const fn file(&self) -> &'static str {
        match self.ecosystem {
            Ecosystem::PyPi => "index.py",
            Ecosystem::Npm => "index.js",
        }
    }
}

use Ecosystem::{Npm, PyPi};

pub const RECIPES: [Recipe; 10] = [
    Recipe {
        name: "requests",
        ecosystem: PyPi,
        requirements: &["requests==2.32.3"],
        source: "import requests\ndef handler(event, context):\n    return requests.Request('GET', 'https://example.com/a', params=event).prepare().url\n",
        event: r#"{"q": "ü 1"}"#,
        output: r#""https://example.com/a?q=%C3%BC+1""#,
    },
    Recipe {
        // Its core is native code, in Rust.
        name: "pydantic",
        ecosystem: PyPi,
        requirements: &["pydantic==2.9.2"],
        source: "from pydantic import BaseModel\nclass Cart(BaseModel):\n    prices: list[int]\ndef handler(event, context):\n    return sum(Cart.model_validate(event).prices)\n",
        event: r#"{"prices": ["1", 2, "39"]}"#,
        output: "42",
    },
    Recipe {
        name: "jinja2",
        ecosystem: PyPi,
        requirements: &["jinja2==3.1.4"],
        source: "import jinja2\nPAGE = jinja2.Environment(autoescape=True).from_string('<b>{{ name }}</b>')\ndef handler(event, context):\n    return PAGE.render(event)\n",
        event: r#"{"name": "<Ada>"}"#,
        output: r#""<b>&lt;Ada&gt;</b>""#,
    },
    Recipe {
        name: "dateutil",
        ecosystem: PyPi,
        requirements: &["python-dateutil==2.9.0.post0"],
        source: "from dateutil.parser import parse\nfrom dateutil.relativedelta import relativedelta\ndef handler(event, context):\n    return (parse(event['day']) + relativedelta(months=1)).date().isoformat()\n",
        event: r#"{"day": "31 January 2024"}"#,
        output: r#""2024-02-29""#,
    },
    Recipe {
        // Native code, in C.
        name: "pyyaml",
        ecosystem: PyPi,
        requirements: &["pyyaml==6.0.2"],
        source: "import yaml\ndef handler(event, context):\n    return yaml.load(event['text'], Loader=yaml.CSafeLoader)\n",
        event: r#"{"text": "a: [1, 2]\nb: {c: null}"}"#,
        output: r#"{"a": [1, 2], "b": {"c": null}}"#,
    },
    Recipe {
        name: "lodash",
        ecosystem: Npm,
        requirements: &["lodash@4.17.21"],
        source: "const _ = require('lodash');\nexports.handler = async (event) => _.groupBy(event.words, 'length');\n",
        event: r#"{"words": ["a", "bb", "c"]}"#,
        output: r#"{"1": ["a", "c"], "2": ["bb"]}"#,
    },
    Recipe {
        name: "uuid",
        ecosystem: Npm,
        requirements: &["uuid@9.0.1"],
        source: "const { v5 } = require('uuid');\nexports.handler = async (event) => v5(event.name, v5.DNS);\n",
        event: r#"{"name": "example.com"}"#,
        output: r#""cfbff0d1-9375-5685-968c-48ce8b15ae17""#,
    },
    Recipe {
        name: "dayjs",
        ecosystem: Npm,
        requirements: &["dayjs@1.11.13"],
        source: "const dayjs = require('dayjs');\nexports.handler = async (event) => dayjs(event.day).add(1, 'month').format('D MMM YYYY');\n",
        event: r#"{"day": "2024-01-31"}"#,
        output: r#""29 Feb 2024""#,
    },
    Recipe {
        name: "zod",
        ecosystem: Npm,
        requirements: &["zod@3.23.8"],
        source: "const { z } = require('zod');\nconst Cart = z.object({ prices: z.array(z.coerce.number()) });\nexports.handler = async (event) => Cart.parse(event).prices.reduce((sum, price) => sum + price, 0);\n",
        event: r#"{"prices": ["1", 2, "39"]}"#,
        output: "42",
    },
    Recipe {
        // Native code, in Rust.
        name: "crc32",
        ecosystem: Npm,
        requirements: &["@node-rs/crc32@1.10.6"],
        source: "const { crc32 } = require('@node-rs/crc32');\nexports.handler = async (event) => crc32(event.text);\n",
        event: r#"{"text": "123456789"}"#,
        output: "3421780262",
    },
];
