//! Metrics as Prometheus takes them (text format 0.0.4): families of samples, made for one answer.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample.
pub(super) type Labels<'l> = &'l [(&'l str, &'l str)];

/// All families of one answer.
#[derive(Default)]
pub(super) struct Exposition {
    families: Vec<MetricFamily>,
}

impl Exposition {
    /// What only grows.
    pub(super) fn counters(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, MetricType::COUNTER)
    }

    /// What grows and shrinks.
    pub(super) fn gauges(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, help, MetricType::GAUGE)
    }

    /// How many samples were up to each bound, the last without one; and their sum.
    pub(super) fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], of: (&[u64], f64)) {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(bounds.len());
        // The bucket without a bound is the encoder's to write.
        for (count, bound) in of.0.iter().zip(bounds) {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(of.0.iter().sum());
        histogram.set_sample_sum(of.1);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.family(name, help, MetricType::HISTOGRAM).push(metric);
    }

    /// The text. A family without samples is left out.
    pub(super) fn text(mut self) -> Result<String, prometheus::Error> {
        self.families.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&self.families)
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        self.families.push(family);
        Family { kind, families: &mut self.families }
    }
}

/// One family, to be filled.
pub(super) struct Family<'e> {
    kind: MetricType,
    families: &'e mut Vec<MetricFamily>,
}

impl Family<'_> {
    /// A sample.
    #[allow(clippy::cast_precision_loss, reason = "the format's numbers are doubles")]
    pub(super) fn of(self, labels: Labels<'_>, value: u64) -> Self {
        self.of_real(labels, value as f64)
    }

    /// A sample that is no whole number.
    pub(super) fn of_real(mut self, labels: Labels<'_>, value: f64) -> Self {
        let labels = labels.iter().map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        });
        let mut metric = Metric::from_label(labels.collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(metric);
        self
    }

    fn push(&mut self, metric: Metric) {
        if let Some(family) = self.families.last_mut() {
            family.mut_metric().push(metric);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_help_type_and_escaped_labels() {
        let mut all = Exposition::default();
        all.counters("asked_total", "Asked.").of(&[("by", "a\"b\\c\nd")], 3).of(&[], 4);
        all.gauges("none", "Left out.");
        all.histogram("took_seconds", "Took.", &[0.5, 1.0], (&[2, 1, 1], 4.5));
        let text = all.text().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "# HELP asked_total Asked.",
                "# TYPE asked_total counter",
                "asked_total{by=\"a\\\"b\\\\c\\nd\"} 3",
                "asked_total 4",
                "# HELP took_seconds Took.",
                "# TYPE took_seconds histogram",
                "took_seconds_bucket{le=\"0.5\"} 2",
                "took_seconds_bucket{le=\"1\"} 3",
                "took_seconds_bucket{le=\"+Inf\"} 4",
                "took_seconds_sum 4.5",
                "took_seconds_count 4",
            ]
        );
    }
}
