// Package upstreamqueue runs the queues of upstream's remote write, one for each
// destination that is served live, and is the only place that knows how they
// work. A queue cannot be told where in the WAL to begin, and does not tell how
// far it is. Both can be found out from outside: what it sends follows from when
// and where its watcher began, and each of its batches shows in a span.
//
// # What is assumed of upstream
//
// Every assumption was read in github.com/prometheus/prometheus v0.316.0 (files
// in brackets), together with the changes of storage/remote, tsdb/agent,
// tsdb/wlog, tsdb/record, scrape and the changelog since v0.315.0, and is held by
// the test that it names. After an upgrade, read the changes of these again and
// run
//
//	go test -run TestContract ./agent/delivery/upstreamqueue/
//
// What New and Start need to find, they look for; see TestMissing.
//
// Where a queue begins [tsdb/wlog/watcher.go: loop, Run, watch, readSegment]:
//
//   - BeginsAtTheTime. When a queue starts, its watcher takes the wall clock's
//     time H, in milliseconds, before it looks at the WAL. A float or histogram
//     with T <= H it never sends, for the whole life of the queue, and counts it
//     nowhere. One with T > H it sends. Held by TestContractStartTime.
//   - RegistersBefore. The queue registers its metrics before its watcher takes H
//     [storage/remote/queue_manager.go: Start], and the watcher's metrics move
//     after: so H has bounds. Held by TestContractStartTime.
//   - LogsAtTheTime. The watcher logs at level info before it takes H, and just
//     after. If it does not, H has wider bounds. Held by TestContractLogs.
//   - BeginsAtLastSegment. After H, the watcher looks for the last segment. It
//     reads checkpoint and segments before the last for series only, and then the
//     last from its beginning: samples with T > H in it, which are samples from
//     the future, are sent again. Exemplars are not looked at for their time: all
//     of the last segment are sent again. Held by TestContractLastSegment.
//   - BeginsAtSegmentOne. The WAL begins a new segment when it is opened, the
//     last one plus one [tsdb/wlog/wlog.go: NewSize]. With an empty segment 0
//     there, no watcher is at rest in a segment 0, which is what its gauge says
//     before it has begun. Held by TestContractFirstSegment.
//   - ReadsWhenNotified. The watcher reads when it is notified, and when a newer
//     segment exists (looked for each 100 ms): then it reads its own to the end.
//     A notification that meets it at work is lost, and what is in a segment that
//     it has just entered waits for the next one, or for 15 s. Held by
//     TestContractMetrics.
//   - SetsTheGauge. It sets its gauge of the current segment whenever it enters
//     one, and at no other time. Held by TestContractMetrics.
//   - BeginsAgain. A watcher that fails (a record that cannot be read, a segment
//     that is gone) says so in its log at level error, waits for 5 s and begins
//     again: with a new H, from the checkpoint on. What was not sent until then is
//     skipped, uncounted. Held by TestContractBegunAgain.
//
// What a queue sends [storage/remote/queue_manager.go]:
//
//   - FirstInFirstOut. One shard sends items in the order of the WAL's records,
//     in batches of at most max_samples_per_send, one request at a time; a batch
//     that is retried blocks the next. With one shard at least and at most, it
//     never reshards. Held by TestContractOrder.
//   - OneItemEach. A sample, histogram or exemplar in the WAL is one item. Left
//     out are: what relabelling drops, native histograms and exemplars that the
//     entry does not send, and custom buckets in 1.0. Two settings break this, and
//     Start refuses them: sample_age_limit, which drops items inside of a batch,
//     and convert_nhcb_to_classic, which makes many items of one and remembers
//     layouts (new in v0.316.0). Held by TestContractOrder, TestContractSpans and
//     TestStartRefused.
//   - UnknownSeries. Items whose series it does not know are dropped, counted
//     with the reason unintentionally_dropped_series in one metric for each of
//     samples, exemplars and histograms. Held by TestContractUnknownSeries.
//   - MetadataApart. Requests that carry metadata only (1.0, every minute) are made
//     beside the shard, in spans of another name. Held by TestContractMetadata.
//
// What can be seen of it [storage/remote: createBatchSpan, attemptStore,
// Client.Store]:
//
//   - SpanOfABatch. Every attempt to send a batch runs in a span "Remote Send
//     Batch" of the process's tracer provider, looked up at each attempt. Before
//     the request, it gets the attributes remote_name, remote_url (with the
//     password, if there is one), samples, and, if there are any, exemplars and
//     histograms. Held by TestContractSpans.
//   - SpanOfARequest. The request runs in a span "Remote Store" below it, started
//     in the same goroutine before anything is sent: not to return from its start
//     holds the request. Its context has the entry's remote_timeout. Held by
//     TestContractHoldBefore.
//   - ClientOfAnAttempt. An attempt takes the queue's client before the span of its
//     batch begins, so a new client serves the next one. A request whose context has
//     ended at the start of its span is not sent, if its client has no files to read,
//     and its attempt is tried again. Held by TestContractEntry.
//   - ErrorOnTheSpan. An attempt that fails records its error on the batch's span
//     before the span ends, and one that is acknowledged records none; a 2xx to
//     2.0 without a word of what was written is a failure. An answer's error
//     begins with "server returned HTTP status " and the code. Held by
//     TestContractRetries and TestContractNothingWritten.
//   - RetriesByType. A batch is tried again if the error is a RecoverableError:
//     no answer, any 5xx, and 429 as the entry has retry_on_http_429. After any
//     other, the shard goes on with the next batch. Held by TestContractRetries.
//   - WordsOfABatch. It logs "non-recoverable error" of what it does not try again, and
//     "Failed to send batch, retrying" of what it does. Held by TestContractWords.
//   - EndHolds. The span ends in the shard's goroutine, with the context of the
//     hard shutdown: not to return from its end keeps the shard from the next
//     batch. When the context has ended, no request is made any more. Held by
//     TestContractHoldAfter.
//
// What can be seen of a scrape [scrape/scrape.go: newScrapeLoop, scrapeAndReport]:
//
//   - SpanOfAScrape. Every scrape runs in a span "scrape" of the process's tracer
//     provider, whose context has the target if PassMetadataInContext is set. After the
//     answer has been read, it gets the attribute bytes, their number: not compressed, 0
//     if there was none, and -1 if there were too many. Held by TestContractScrape.
//
// How a queue ends, and how it goes on [storage/remote: write.go, storage.go,
// queue_manager.go: Stop]:
//
//   - FlushDeadline. Close stops the queue: it may flush for the deadline that
//     NewStorage was given, then the context of its requests ends. The lock that
//     Notify takes is held meanwhile. A queue that is full keeps its watcher asleep
//     between two tries, for up to max_backoff, and Close waits for that. A metadata
//     request on its way may take a second deadline. Held by TestContractStop and
//     TestWhileStopping.
//   - LeavesNothing. After Close no goroutine of the storage runs. Held by TestMain.
//   - GoesOn. ApplyConfig keeps a queue whose entry marshals to the same YAML, in
//     which all secrets are alike, and whose external labels are the same: it only
//     gets a new client. If that cannot be built, ApplyConfig fails and the queue of
//     a storage with one entry goes on. Held by TestContractRefresh and
//     TestContractClientFails.
//   - OneStorageEach. Several remote storages in one process share nothing but
//     three counters on the default registry, which only a storage that is
//     appended to moves. Held by TestGather and TestStopInParallel.
package upstreamqueue
