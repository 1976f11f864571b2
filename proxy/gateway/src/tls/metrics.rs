//! What is counted of TLS.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::Certificates;
use crate::metrics::names;

/// The metrics of all listeners that speak TLS.
#[derive(Clone)]
pub(crate) struct TlsMetrics {
    expiry: IntGaugeVec,
    reloads: IntCounterVec,
    refused: IntGaugeVec,
}

/// Those of one listener.
pub(crate) struct ListenerTlsMetrics {
    listener: &'static str,
    expiry: IntGaugeVec,
    applied: IntCounter,
    not_applied: IntCounter,
    refused: IntGauge,
}

impl TlsMetrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let expiry = Opts::new(
            names::TLS_CERTIFICATE_EXPIRY,
            "When a certificate in force expires, in seconds since 1970, by listener and file",
        );
        let reloads =
            Opts::new(names::TLS_CERTIFICATE_RELOADS, "Changes of certificate files, by listener and outcome");
        let refused = Opts::new(
            names::TLS_CERTIFICATE_REFUSED,
            "1 while the certificate files on disk cannot be used, by listener",
        );
        let metrics = Self {
            expiry: IntGaugeVec::new(expiry, &["listener", "certificate"])?,
            reloads: IntCounterVec::new(reloads, &["listener", "outcome"])?,
            refused: IntGaugeVec::new(refused, &["listener"])?,
        };
        registry.register(Box::new(metrics.expiry.clone()))?;
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        Ok(metrics)
    }

    /// Those of this listener.
    pub(crate) fn of(&self, listener: &'static str) -> ListenerTlsMetrics {
        ListenerTlsMetrics {
            listener,
            expiry: self.expiry.clone(),
            applied: self.reloads.with_label_values(&[listener, "applied"]),
            not_applied: self.reloads.with_label_values(&[listener, "refused"]),
            refused: self.refused.with_label_values(&[listener]),
        }
    }
}

impl ListenerTlsMetrics {
    /// Shows when the certificates in force expire.
    pub(super) fn in_force(&self, certificates: &Certificates) {
        for (config, expires_s) in certificates.configs().iter().zip(certificates.expiries_s()) {
            let file = config.certificate.display().to_string();
            self.expiry.with_label_values(&[self.listener, &file]).set(expires_s);
        }
    }

    pub(super) fn reloaded(&self, certificates: &Certificates) {
        self.applied.inc();
        self.refused.set(0);
        self.in_force(certificates);
    }

    pub(super) fn reload_refused(&self) {
        self.not_applied.inc();
        self.refused.set(1);
    }
}
