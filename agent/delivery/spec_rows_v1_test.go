package delivery

import "errors"

// specRow is one thing that the specification asks of a sender.
type specRow struct {
	version string // of the specification
	section string
	level   string // MUST, MUST NOT, SHOULD, MAY
	words   string // in short
	// deviates says why it is not done, and how to have it; empty where it is done.
	deviates string
	note     string // where it is done: what else is to be said
	// check is made of all that was recorded, and bad makes a recording that breaks it.
	check check
	bad   func(s *sent)
	// test is made of everything that was seen, for a path; nil: the check, of the
	// exposition.
	test func(w world, path string) error
}

func (r *specRow) run(w world, path string) error {
	if r.test == nil {
		return r.check(w[r.version]["rich"][path].sent)
	}
	return r.test(w, path)
}

// of tests what followed from the answers of a scene.
func of(version, scene string, o outcome) func(world, string) error {
	return func(w world, path string) error { return o(w[version][scene][path]) }
}

// ofPath tests the two paths apart.
func ofPath(version, scene string, live, drained outcome) func(world, string) error {
	return func(w world, path string) error {
		if path == "live" {
			return live(w[version][scene][path])
		}
		return drained(w[version][scene][path])
	}
}

// all tests several things.
func all(tests ...func(world, string) error) func(world, string) error {
	return func(w world, path string) error {
		for _, test := range tests {
			if err := test(w, path); err != nil {
				return err
			}
		}
		return nil
	}
}

// sentIn tests what was recorded in a scene, of a destination of the path.
func sentIn(version, scene string, c check, destination map[string]string) func(world, string) error {
	return func(w world, path string) error {
		if other, ok := destination[path]; ok {
			path = other
		}
		return c(w[version][scene][path].sent)
	}
}

// plain are the destinations that are told nothing but where to send.
var plain = map[string]string{"live": "plain", "drained": "drained plain"}

// broken is a check that fails where another passes.
func broken(c check) check {
	return func(s *sent) error {
		if c(s) == nil {
			return errors.New("it is not broken any more")
		}
		return nil
	}
}

// Reasons that several rows have.
const (
	whyHeld = "what is answered with another 4xx than 400 and 422 is held and sent again with growing pauses, as a token, a tenant or a route that is mended takes it then; 413 in smaller requests. " +
		"`--delivery.give-up-refused=NAME` switches that off for a `remote_write` entry: then only what was refused while live is sent once more"
	whyParts = "while behind, parts of a request that is answered with 400 or 422, and single samples of it, are sent again, to find out which samples the refusal is about: all others are delivered. There is no switch; the requests for that are bounded"
	whyPage  = "while behind, a page for browsers with 2xx (a captive portal's, a proxy's) is no acknowledgement: the samples are held. There is no switch; any other body is ignored, and while live all are"
	whyWords = "\"out of order\", \"duplicate\", \"too old\" and what is said of series and labels are looked for: they tell samples that are there from samples that are lost, give the ledger its reasons, and save requests. There is no switch"
	whyNames = "names of UTF-8 are sent as they were scraped, as Prometheus does. `metric_name_validation_scheme: legacy` in the section `global` or in a scrape job has targets asked for names of the old kind, and refuses others"
)

var rowsProtocol1 = []specRow{
	{version: "1.0", section: "Protocol", level: "MUST", words: "the request is the body of a POST to the path that is configured", check: posting, bad: func(s *sent) { s.posts[1].method = "PUT" }},
	{version: "1.0", section: "Protocol", level: "MUST", words: "timestamps are milliseconds, those of all samples", check: milliseconds, bad: func(s *sent) { s.posts[1].series[0].samples[0].t /= 1000 }},
	{version: "1.0", section: "Protocol", level: "MUST", words: "`Content-Encoding: snappy`", check: header("Content-Encoding", "^snappy$"), bad: without("Content-Encoding")},
	{version: "1.0", section: "Protocol", level: "MUST", words: "`Content-Type: application/x-protobuf`", check: header("Content-Type", "^application/x-protobuf$"), bad: with("Content-Type", "application/json")},
	{version: "1.0", section: "Protocol", level: "MUST", words: "`User-Agent` with name and version", check: header("User-Agent", agentPattern), bad: with("User-Agent", "Go")},
	{version: "1.0", section: "Protocol", level: "MUST", words: "`X-Prometheus-Remote-Write-Version: 0.1.0`", check: header("X-Prometheus-Remote-Write-Version", `^0\.1\.0$`), bad: with("X-Prometheus-Remote-Write-Version", "0.1.1")},
	{version: "1.0", section: "Protocol", level: "MUST NOT", words: "users cannot set these headers", test: reservedHeaders},
	{version: "1.0", section: "Protocol", level: "MUST", words: "snappy's block format, not the framed one", check: block, bad: framed},
	{version: "1.0", section: "Protocol", level: "MUST", words: "the message has the fields of the specification", note: "with `send_exemplars` and `send_native_histograms`, which are off unless configured, also those of Prometheus",
		check: schema, bad: func(s *sent) { s.posts[0].outside = []string{"exemplars"} },
		test: all(sentIn("1.0", "rich", schema, plain), sentIn("1.0", "rich", broken(schema), nil))},
	{version: "1.0", section: "Protocol", level: "MUST", words: "the body of a response is ignored", deviates: whyPage, test: pageTest("1.0")},
	{version: "1.0", section: "Backward and forward compatibility", level: "MUST", words: "a sender of a later version begins with an empty request of 1.0, and goes by the version in the answer",
		deviates: "an entry with `protobuf_message: io.prometheus.write.v2.Request` sends 2.0 from the first request on, as the specification of 2.0 says; one without it never does, whatever the answers say",
		test:     all(of("2.0", "2xx", firstIs("2.0.0")), of("1.0", "2xx", firstIs("0.1.0")), of("1.0", "2xx", allDelivered))},
}

var rowsLabels1 = []specRow{
	{version: "1.0", section: "Labels", level: "MUST", words: "all labels with each sample", check: complete, bad: func(s *sent) { s.posts[1].series[0].labels = s.posts[1].series[0].labels[:2] }},
	{version: "1.0", section: "Labels", level: "SHOULD", words: "there is a `__name__`", note: "as scraped and relabelled", check: named, bad: func(s *sent) { s.posts[1].series[0].labels = s.posts[1].series[0].labels[1:] }},
	{version: "1.0", section: "Labels", level: "MUST NOT", words: "no name of a label twice", check: unrepeated, bad: repeatLabel, test: scrapedTest("1.0", unrepeated)},
	{version: "1.0", section: "Labels", level: "MUST", words: "labels are sorted by name", check: sorted, bad: unsortLabels, test: scrapedTest("1.0", sorted)},
	{version: "1.0", section: "Labels", level: "MUST NOT", words: "no empty names or values", check: nonEmpty, bad: func(s *sent) { s.posts[1].series[0].labels[1].value = "" }, test: scrapedTest("1.0", nonEmpty)},
	{version: "1.0", section: "Labels", level: "MUST", words: "names of metrics are of letters, digits, `_` and `:`", deviates: whyNames, check: metricNames, bad: dottedMetric, test: utf8Test("1.0", metricNames)},
	{version: "1.0", section: "Labels", level: "MUST", words: "names of labels are of letters, digits and `_`", deviates: "the same", check: labelNames, bad: dottedLabel, test: utf8Test("1.0", labelNames)},
	{version: "1.0", section: "Labels", level: "SHOULD NOT", words: "no other labels that begin with `__`", note: "but for `__type__` and `__unit__`, with the feature `type-and-unit-labels`", check: unreserved, bad: reservedLabel, test: namesTest("1.0", unreserved)},
	{version: "1.0", section: "Labels", level: "MUST NOT", words: "the words of a refusal are not interpreted", deviates: whyWords, test: of("1.0", "final", interpreted)},
	{version: "1.0", section: "Labels", level: "SHOULD", words: "they are logged as they are", note: "the first kilobyte, once for each episode", test: of("1.0", "final", logged)},
}

var rowsSending1 = []specRow{
	{version: "1.0", section: "Ordering", level: "MUST", words: "the samples of a series go in the order of their times", check: ascending, bad: swapTimes, test: scrapedTest("1.0", ascending)},
	{version: "1.0", section: "Retries & Backoff", level: "MUST", words: "5xx: sent again", note: "as it was, with `Retry-Attempt`, and before anything newer", test: of("1.0", "5xx", retried)},
	{version: "1.0", section: "Retries & Backoff", level: "MUST", words: "with a backoff", note: "`min_backoff`, doubling to `max_backoff` (at most 2 s) while live, to six times that, with jitter, while behind", test: of("1.0", "5xx", backsOff)},
	{version: "1.0", section: "Retries & Backoff", level: "MUST NOT", words: "2xx: not sent again", test: all(of("1.0", "2xx", once), of("1.0", "2xx", allDelivered))},
	{version: "1.0", section: "Retries & Backoff", level: "MUST NOT", words: "400 and 422: not sent again", deviates: whyParts, test: ofPath("1.0", "final", once, partsAgain)},
	{version: "1.0", section: "Retries & Backoff", level: "MUST NOT", words: "other 4xx but 429: not sent again", deviates: whyHeld, test: all(of("1.0", "held", heldInTheEnd), ofPath("1.0", "given up", givenUpLive, givenUp))},
	{version: "1.0", section: "Retries & Backoff", level: "MAY", words: "429: sent again", test: of("1.0", "seconds", retried)},
	{version: "1.0", section: "Stale Markers", level: "MUST", words: "a stale marker for a series that ends", check: staleSent, bad: func(s *sent) { s.posts[1].series[0].samples[0].bits++ }, test: all(sentIn("1.0", "rich", staleSent, nil), of("1.0", "scraped", staleWhereVanished))},
	{version: "1.0", section: "Stale Markers", level: "MUST", words: "it is the NaN 0x7ff0000000000002, which is nothing else", check: staleOnly, bad: func(s *sent) { s.posts[0].series[0].samples[0].bits = staleBits }},
	{version: "1.0", section: "Out of Scope, Sharding", level: "MUST", words: "requests at the same time keep the order of each series", note: "there is one request at a time and, while live, beside it one of samples that are dated before the queue began", check: disjoint, bad: func(s *sent) { s.posts[0].answered = s.posts[1].begun.Add(1) }},
}
