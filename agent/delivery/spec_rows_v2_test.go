package delivery

import (
	"fmt"
	"slices"
)

const (
	whyExemplars = "while live, upstream's queue sends each exemplar as a time series of its own, without a sample. From the backlog they go with their samples. `send_exemplars: false`, the default, sends none"
	whyVersion   = "the default is `prometheus.WriteRequest`, which Opstrace takes, as it is with Prometheus. `protobuf_message: io.prometheus.write.v2.Request` in a `remote_write` entry switches to the newer message"
)

var rowsProtocol2 = []specRow{
	{version: "2.0", section: "Protocol", level: "MUST", words: "`io.prometheus.write.v2.Request` is supported", check: posting, bad: func(s *sent) { s.posts[1].series = nil }},
	{version: "2.0", section: "Protocol", level: "SHOULD", words: "it is used where possible", deviates: whyVersion, test: messageTest},
	{version: "2.0", section: "Protocol", level: "MUST", words: "snappy's block format, not the framed one", check: block, bad: framed},
	{version: "2.0", section: "Protocol", level: "MUST", words: "the request is the body of a POST to the path that is configured", check: posting, bad: func(s *sent) { s.posts[1].path = "/" }},
	{version: "2.0", section: "Protocol", level: "MUST NOT", words: "users cannot set the reserved headers", test: reservedHeaders},
	{version: "2.0", section: "Content-Encoding", level: "MUST", words: "`snappy`", check: header("Content-Encoding", "^snappy$"), bad: with("Content-Encoding", "gzip")},
	{version: "2.0", section: "Content-Type", level: "MUST", words: "`application/x-protobuf`, with `proto=` of this message", check: header("Content-Type", `^application/x-protobuf;proto=io\.prometheus\.write\.v2\.Request$`), bad: with("Content-Type", "application/x-protobuf")},
	{version: "2.0", section: "Content-Type", level: "SHOULD", words: "to receivers of 1.0, `application/x-protobuf` without `proto=`",
		test: sentIn("1.0", "rich", header("Content-Type", "^application/x-protobuf$"), nil)},
	{version: "2.0", section: "X-Prometheus-Remote-Write-Version", level: "MUST", words: "`0.1.0` to receivers of 1.0", test: sentIn("1.0", "rich", header("X-Prometheus-Remote-Write-Version", `^0\.1\.0$`), nil)},
	{version: "2.0", section: "X-Prometheus-Remote-Write-Version", level: "SHOULD", words: "else the newest version, `2.0.0`", check: header("X-Prometheus-Remote-Write-Version", `^2\.0\.0$`), bad: with("X-Prometheus-Remote-Write-Version", "0.1.0")},
	{version: "2.0", section: "User-Agent", level: "MUST", words: "there is one, in the form of RFC 9110", check: header("User-Agent", agentPattern), bad: without("User-Agent")},
	{version: "2.0", section: "Response", level: "MUST", words: "the body of a response is ignored", deviates: whyPage, test: pageTest("2.0")},
	{version: "2.0", section: "Response", level: "MUST NOT", words: "the words of a refusal are not interpreted", deviates: whyWords, test: of("2.0", "final", interpreted)},
	{version: "2.0", section: "Response", level: "SHOULD", words: "they are logged as they are", note: "the first kilobyte, once for each episode", test: of("2.0", "final", logged)},
	{version: "2.0", section: "Required Written Response Headers", level: "SHOULD", words: "2xx to 2.0 with none of the headers is taken for 415", note: "which is held, not given up; see the row of 4xx", test: ofPath("2.0", "nothing written", resent, resent)},
	{version: "2.0", section: "Required Written Response Headers", level: "MUST NOT", words: "to 1.0, missing headers do not mean that nothing was written", test: all(of("1.0", "nothing written", once), of("1.0", "nothing written", allDelivered))},
	{version: "2.0", section: "Required Written Response Headers", level: "MUST NOT", words: "headers of a response do not tell the version of the receiver", test: of("1.0", "2xx", firstIs("0.1.0"))},
	{version: "2.0", section: "Partial Write", level: "SHOULD", words: "samples of several series in a request", check: several, bad: func(s *sent) { s.posts[0].series, s.posts[1].series = s.posts[0].series[:1], s.posts[1].series[:1] }},
	{version: "2.0", section: "Unsupported Request Content", level: "SHOULD", words: "400 is expected for it, too", note: "it is a refusal like any other: not sent again as it was, and in the ledger", test: of("2.0", "final", counted)},
}

var rowsRetries2 = []specRow{
	{version: "2.0", section: "Invalid Samples", level: "MUST NOT", words: "400 and 422: not sent again", deviates: whyParts, test: ofPath("2.0", "final", once, partsAgain)},
	{version: "2.0", section: "Invalid Samples", level: "MUST NOT", words: "other 4xx but 429: not sent again", deviates: whyHeld, test: all(of("2.0", "held", heldInTheEnd), ofPath("2.0", "given up", givenUpLive, givenUp))},
	{version: "2.0", section: "Retries & Backoff", level: "MUST", words: "5xx: sent again", note: "as it was, with `Retry-Attempt`, and before anything newer", test: of("2.0", "5xx", retried)},
	{version: "2.0", section: "Retries & Backoff", level: "MUST", words: "with a backoff", note: "as by 1.0", test: of("2.0", "5xx", backsOff)},
	{version: "2.0", section: "Retries & Backoff", level: "MAY", words: "429: sent again", test: of("2.0", "seconds", retried)},
	{version: "2.0", section: "Retries & Backoff", level: "MAY", words: "`Retry-After` is heeded, in seconds or as a date", note: "live, a date is rounded down by up to a second; while behind, ten minutes are the most",
		test: all(afterSeconds("1.0"), afterSeconds("2.0"), afterDate("1.0"), afterDate("2.0"))},
}

var rowsMessage2 = []specRow{
	{version: "2.0", section: "Message", level: "MUST", words: "timestamps are milliseconds, those of all samples", check: milliseconds, bad: func(s *sent) { s.posts[1].series[0].samples[0].t *= 1000 }},
	{version: "2.0", section: "Message", level: "MUST", words: "each time series has `labels_refs`", check: refs, bad: func(s *sent) { s.posts[1].series[0].refs = 0 }},
	{version: "2.0", section: "Message", level: "MUST", words: "each time series has a sample or a histogram", deviates: whyExemplars, check: someSample, bad: func(s *sent) { s.posts[1].series[0].samples = nil },
		test: func(w world, path string) error {
			if path == "live" {
				return all(sentIn("2.0", "rich", broken(someSample), nil), sentIn("2.0", "rich", someSample, plain))(w, path)
			}
			return all(sentIn("2.0", "rich", someSample, nil), sentIn("2.0", "many exemplars", someSample, nil))(w, path)
		}},
	{version: "2.0", section: "Message", level: "MUST NOT", words: "not both of them", check: oneKind, bad: func(s *sent) { s.posts[1].series[0].histograms = s.posts[1].series[0].samples }},
	{version: "2.0", section: "Message", level: "MUST", words: "a series of both has a time series of each", check: apart, bad: func(s *sent) { s.posts[1].series[1].histograms = nil }},
	{version: "2.0", section: "Message", level: "SHOULD", words: "type, help and unit", note: "with `--enable-feature=metadata-wal-records`", check: metadataSent, bad: func(s *sent) { s.posts[1].series[0].kind = 0 }},
	{version: "2.0", section: "Message", level: "SHOULD", words: "exemplars, where there are any", note: "with `send_exemplars: true`", check: exemplarsSent, bad: func(s *sent) { s.posts[1].series[0].exemplars = nil },
		test: all(sentIn("2.0", "rich", exemplarsSent, nil), sentIn("2.0", "rich", broken(exemplarsSent), plain))},
	{version: "2.0", section: "Symbols", level: "MUST", words: "there is a table, which begins with the empty string and has none twice", check: symbols, bad: func(s *sent) { s.posts[1].symbols = []string{"", "a", "a"} }},
	{version: "2.0", section: "Symbols", level: "MUST", words: "references are to something in it", check: references, bad: func(s *sent) { s.posts[1].undecodable = fmt.Errorf("a reference to nothing") }},
	{version: "2.0", section: "Series Labels", level: "MUST", words: "all labels with each sample", check: complete, bad: func(s *sent) { s.posts[1].series[0].labels = s.posts[1].series[0].labels[:2] }},
	{version: "2.0", section: "Series Labels", level: "SHOULD", words: "there is a `__name__`", note: "as scraped and relabelled", check: named, bad: func(s *sent) { s.posts[1].series[0].labels = s.posts[1].series[0].labels[1:] }},
	{version: "2.0", section: "Series Labels", level: "MUST NOT", words: "no name of a label twice", check: unrepeated, bad: repeatLabel, test: scrapedTest("2.0", unrepeated)},
	{version: "2.0", section: "Series Labels", level: "MUST", words: "labels are sorted by name", check: sorted, bad: unsortLabels, test: scrapedTest("2.0", sorted)},
	{version: "2.0", section: "Series Labels", level: "MUST NOT", words: "no empty names or values", check: nonEmpty, bad: func(s *sent) { s.posts[1].series[0].labels[1].value = "" }, test: scrapedTest("2.0", nonEmpty)},
	{version: "2.0", section: "Series Labels", level: "MUST", words: "names and values are UTF-8", check: validUTF8, bad: func(s *sent) { s.posts[1].series[0].labels[1].value = "\xff" }, test: all(sentIn("2.0", "rich", validUTF8, nil), sentIn("2.0", "names", validUTF8, nil))},
	{version: "2.0", section: "Series Labels", level: "SHOULD", words: "names of metrics are of letters, digits, `_` and `:`", deviates: whyNames, check: metricNames, bad: dottedMetric, test: utf8Test("2.0", metricNames)},
	{version: "2.0", section: "Series Labels", level: "SHOULD", words: "names of labels are of letters, digits and `_`", deviates: "the same", check: labelNames, bad: dottedLabel, test: utf8Test("2.0", labelNames)},
	{version: "2.0", section: "Series Labels", level: "SHOULD NOT", words: "no other labels that begin with `__`", note: "but for `__type__` and `__unit__`, with the feature `type-and-unit-labels`", check: unreserved, bad: reservedLabel, test: namesTest("2.0", unreserved)},
	{version: "2.0", section: "Samples and Histogram Samples", level: "MUST", words: "the samples of a series go in the order of their times", check: ascending, bad: swapTimes, test: scrapedTest("2.0", ascending)},
	{version: "2.0", section: "Samples and Histogram Samples", level: "SHOULD", words: "start timestamps of counters and histograms, where the target gives them", note: "with `--enable-feature=st-storage`", check: startSent, bad: func(s *sent) { s.posts[1].series[0].samples[0].start = 0 }},
	{version: "2.0", section: "Samples and Histogram Samples", level: "MUST", words: "a stale marker for a series that ends", check: staleSent, bad: func(s *sent) { s.posts[1].series[0].samples[0].bits++ }, test: all(sentIn("2.0", "rich", staleSent, nil), of("2.0", "scraped", staleWhereVanished))},
	{version: "2.0", section: "Samples and Histogram Samples", level: "MUST", words: "it is the NaN 0x7ff0000000000002, which is nothing else", check: staleOnly, bad: func(s *sent) { s.posts[0].series[0].samples[0].bits = staleBits }},
	{version: "2.0", section: "Exemplars", level: "MUST", words: "they have a value and a timestamp, and what trace it is of in `trace_id`", note: "as scraped", check: exemplars, bad: func(s *sent) { s.posts[1].series[0].exemplars[0].t = 0 }},
	{version: "2.0", section: "Out of Scope, Sharding", level: "MUST", words: "requests at the same time keep the order of each series", note: "there is one request at a time and, while live, beside it one of samples that are dated before the queue began", check: disjoint, bad: func(s *sent) { s.posts[0].answered = s.posts[1].begun.Add(1) }},
}

// specRows are all, in the order of the specifications.
func specRows() []specRow {
	return slices.Concat(rowsProtocol1, rowsLabels1, rowsSending1, rowsProtocol2, rowsRetries2, rowsMessage2)
}
