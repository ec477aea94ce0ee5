package delivery

import (
	"slices"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// transition is one row of the machine's table: in a state, on an event, under
// a condition, something is done and a state entered.
type transition struct {
	in State // empty: in every state
	on eventKind
	// of are the classes of answers that the row is about; none: all.
	of []remotewrite.Class
	// when is a further condition; nil: always. needs says it in words.
	when  func(f facts) bool
	needs string
	do    action
	to    State // empty: the state stays
	// why the destination goes behind, in words for the log and the status.
	why string
}

// facts are what a condition is about.
type facts struct {
	event

	partial partialWrites
	// stayed: the destination has been behind for long enough.
	stayed bool
}

func (r *transition) fits(in State, f facts) bool {
	if r.in != "" && r.in != in || r.on != f.kind {
		return false
	}
	if len(r.of) > 0 && !slices.Contains(r.of, f.class) {
		return false
	}
	return r.when == nil || r.when(f)
}

type classes = []remotewrite.Class

// transitions is the whole machine. The first row that fits is taken.
//
// "Already there" is an answer that says out of order or duplicate. It means
// what it says only where the samples may have been sent before; everywhere
// else it is a refusal like any other, and a loss.
var transitions = []transition{
	// Whatever the state.
	{on: stopped, do: end, to: Stopped},
	{on: reconfigured, do: end, to: Stopped},
	{on: acknowledged, do: settle},

	// Behind: the drainer's requests, one at a time.
	{in: Behind, on: drained, needs: "stayed long enough", when: func(f facts) bool { return f.stayed }, do: handOver, to: HandingOver},
	{in: Behind, on: drained, do: carryOn},
	{in: Behind, on: refused, of: classes{remotewrite.Unanswered, remotewrite.Passing, remotewrite.Held, remotewrite.Acknowledged}, do: retry},
	{in: Behind, on: refused, of: classes{remotewrite.TooLarge}, needs: "one sample that is large, others pass", when: func(f facts) bool { return f.alone && f.large && f.othersPass }, do: giveUp},
	{in: Behind, on: refused, of: classes{remotewrite.TooLarge}, needs: "one sample that is large", when: func(f facts) bool { return f.alone && f.large && !f.emptyAsked }, do: askEmpty},
	{in: Behind, on: refused, of: classes{remotewrite.TooLarge}, needs: "one sample", when: func(f facts) bool { return f.alone }, do: retry},
	{in: Behind, on: refused, of: classes{remotewrite.TooLarge}, do: shrink},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "already there or older than what came after a refusal or before a step of the clock", when: func(f facts) bool {
		return f.there && f.before && (f.alone && f.unproven || f.overtaken && f.partial == partialStored)
	}, do: doubt},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "one sample, already there", when: func(f facts) bool { return f.alone && f.there && f.before }, do: settle},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "one sample, perhaps there with the others", when: func(f facts) bool {
		return f.alone && f.there && f.asked && f.partial == partialUnknown
	}, do: doubt},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "one sample", when: func(f facts) bool { return f.alone }, do: giveUp},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "already there or not for the time, stores partial writes", when: func(f facts) bool {
		return f.partial == partialStored && (f.there && f.before || !f.there && !f.outOfWindow)
	}, do: narrow},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "stores partial writes", when: func(f facts) bool { return f.partial == partialStored }, do: doubt},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "not known whether partial writes are stored, or how much is there already", when: func(f facts) bool {
		return !f.asked && (f.partial == partialUnknown || f.there && f.before)
	}, do: askPartial},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "out of the endpoint's window, or many refused in vain", when: func(f facts) bool {
		return (f.outOfWindow || f.vain) && !f.oneAsked && !(f.there && f.before)
	}, do: askOne},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, needs: "many refused in vain", when: func(f facts) bool { return f.vain && !(f.there && f.before) }, do: giveUp},
	{in: Behind, on: refused, of: classes{remotewrite.Final}, do: split},

	{in: Behind, on: refused, of: classes{remotewrite.NotHeld}, needs: "perhaps stored before", when: func(f facts) bool { return f.before }, do: doubt},
	{in: Behind, on: refused, of: classes{remotewrite.NotHeld}, do: giveUp},

	// Handing over.
	{in: HandingOver, on: handedOver, do: goLive, to: Live},
	{in: HandingOver, on: segmentCut, do: carryOn, to: Behind, why: "the WAL began a new segment during the hand-over"},
	{in: HandingOver, on: wouldSendAgain, do: waitForSegment, to: Behind, why: "upstream's queue would send samples with future timestamps again, for which the endpoint refuses whole requests"},
	{in: HandingOver, on: queueFailed, do: carryOn, to: Behind, why: "upstream's queue could not be started"},
	{in: HandingOver, on: refused, do: carryOn},

	// Live: upstream's queue sends. What it gives up although waiting can mend
	// it must not be overtaken by its next batch: once that is accepted, this
	// one is out of order for ever.
	{in: Live, on: refused, of: classes{remotewrite.Unanswered, remotewrite.Passing}, needs: "upstream tries again by itself", when: func(f facts) bool { return f.retried }, do: carryOn},
	{in: Live, on: refused, of: classes{remotewrite.TooLarge}, do: shrink, to: Behind, why: "the endpoint finds requests too large"},
	{in: Live, on: refused, of: classes{remotewrite.Final}, needs: "already there or older than what came before a step of the clock", when: func(f facts) bool {
		return f.there && f.overtaken && !f.onlyAgain
	}, do: doubt},
	{in: Live, on: refused, of: classes{remotewrite.Final}, needs: "already there, stores partial writes", when: func(f facts) bool {
		return f.there && (f.before || f.again) && f.partial == partialStored
	}, do: settle},
	{in: Live, on: refused, of: classes{remotewrite.Final}, needs: "already there, all sent again", when: func(f facts) bool { return f.there && f.onlyAgain }, do: settle},
	{in: Live, on: refused, of: classes{remotewrite.Final}, needs: "some sent again, some new", when: func(f facts) bool { return f.there && f.again && !f.before }, do: suspect, to: Behind, why: "the endpoint refused a batch for samples that it has; whether it took the others is to be found out"},
	{in: Live, on: refused, of: classes{remotewrite.Final}, needs: "already there, perhaps", when: func(f facts) bool { return f.there && f.before }, do: carryOn, to: Behind, why: "the endpoint refused a batch that it may have stored before; what is there is to be found out"},
	// What cannot be found out about the next batch by remembering it would send
	// the destination to and fro for ever: that stays uncertain.
	{in: Live, on: refused, of: classes{remotewrite.Final}, needs: "for what a series is", when: func(f facts) bool { return f.series && !f.there }, do: carryOn, to: Behind, why: "the endpoint refuses series for what they are; which ones is found out from the backlog"},
	{in: Live, on: refused, of: classes{remotewrite.Final}, do: doubt},
	{in: Live, on: refused, of: classes{remotewrite.NotHeld}, do: carryOn, to: Behind, why: "the endpoint refused a batch, which is given up if it is refused once more"},
	{in: Live, on: refused, do: carryOn, to: Behind, why: "the endpoint refused a batch, which stays on disk and is sent again"},
	{in: Live, on: lagging, do: carryOn, to: Behind, why: "the endpoint does not keep up"},
	{in: Live, on: watcherBegunAgain, do: carryOn, to: Behind, why: "upstream's WAL watcher has begun again after an error"},
	{in: Live, on: sequenceDiffers, do: carryOn, to: Behind, why: "upstream's queue sends something else than was expected"},
	{in: Live, on: unreadable, do: carryOn, to: Behind, why: "the WAL cannot be read"},
	{in: Live, on: outgrown, do: carryOn, to: Behind, why: "the endpoint may take larger requests again than its queue makes"},
	{in: Live, on: entryChanged, do: carryOn, to: Behind, why: "its certificates, or the kind of its token, have changed; upstream's queue is started anew"},
	{in: Live, on: queueGone, do: carryOn, to: Behind, why: "upstream's queue is gone"},

	// Already behind, while the queue is still being stopped.
	{in: Behind, on: lagging, do: carryOn},
	{in: Behind, on: watcherBegunAgain, do: carryOn},
	{in: Behind, on: sequenceDiffers, do: carryOn},
	{in: Behind, on: unreadable, do: carryOn},
	{in: Behind, on: outgrown, do: carryOn},
	{in: Behind, on: entryChanged, do: carryOn},
	{in: Behind, on: queueGone, do: carryOn},
}
