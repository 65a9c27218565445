package prom

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	document "github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/tracer"
)

// mostJourneys is how many slow ones are kept, mostExemplars how many of them stand by one native histogram.
const (
	mostJourneys  = 256
	mostExemplars = 10
)

// Journeys keeps the last slow journeys, which exemplars name. A nil one keeps
// none. Safe for concurrent use.
type Journeys struct {
	mu   sync.Mutex
	last []kept          // by end, the latest last
	seen map[uint64]bool // ids in last
}

// kept is a journey and when it was first told of: its own clock is the monotonic one.
type kept struct {
	journey tracer.Journey
	at      time.Time
}

// NewJourneys returns an empty one.
func NewJourneys() *Journeys {
	return &Journeys{seen: map[uint64]bool{}}
}

// journeyID is how a journey is named to the outside.
func journeyID(id uint64) string { return strconv.FormatUint(id, 10) }

// exemplars are journeys by the key of the path's series, the latest last.
type exemplars map[seriesKey][]*dto.Exemplar

// of are those of one series; most have none.
func (e exemplars) of(key seriesKey) []*dto.Exemplar {
	if len(e) == 0 || key.family != pathLatency {
		return nil
	}
	return e[key]
}

// take keeps the slow ones of all that a snapshot has, and makes exemplars of those kept.
// told are the lives of its targets, in the same order.
func (j *Journeys) take(s tracer.Snapshot, now time.Time, told []life) exemplars {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep(s.Journeys, now)
	if len(j.last) == 0 {
		return nil
	}
	type way struct{ container, flow string }
	ways := map[[2]string]way{}
	for i := range s.Targets {
		for _, p := range s.Targets[i].Paths {
			ways[[2]string{s.Targets[i].Name, p.ID}] = way{told[i].name, p.Flow}
		}
	}
	marks := exemplars{}
	for _, one := range j.last {
		at, known := ways[[2]string{one.journey.Target, one.journey.Path}]
		if !known {
			continue // dropped on its way, or of a container that has gone
		}
		key := keyOf(pathLatency, []string{
			at.container, one.journey.Direction.String(), peerKind(one.journey.Peer), at.flow,
		})
		marks[key] = append(marks[key], one.exemplar())
	}
	return marks
}

// keep adds the slow ones that are new, and forgets the oldest beyond the most.
func (j *Journeys) keep(all []tracer.Journey, now time.Time) {
	slow := slices.DeleteFunc(slices.Clone(all), func(one tracer.Journey) bool { return !one.Slow })
	// a snapshot tells of older ones again, which may have been forgotten here
	for _, one := range slow[max(0, len(slow)-mostJourneys):] {
		if j.seen[one.ID] {
			continue
		}
		j.last = append(j.last, kept{journey: one, at: now})
		j.seen[one.ID] = true
	}
	over := len(j.last) - mostJourneys
	if over <= 0 {
		return
	}
	for _, one := range j.last[:over] {
		delete(j.seen, one.journey.ID)
	}
	j.last = slices.Delete(j.last, 0, over)
}

// exemplar names a journey beside the histogram that counts it.
func (k kept) exemplar() *dto.Exemplar {
	return &dto.Exemplar{
		Label:     []*dto.LabelPair{{Name: proto.String("journey_id"), Value: proto.String(journeyID(k.journey.ID))}},
		Value:     proto.Float64(k.journey.Latency().Seconds()),
		Timestamp: timestamppb.New(k.at),
	}
}

// annotate puts exemplars to their buckets: the latest of each, and those of the native form in order of time.
func (l *layout) annotate(h *dto.Histogram, marks []*dto.Exemplar) {
	if len(marks) == 0 {
		return
	}
	if l.form.Native {
		h.Exemplars = marks[max(0, len(marks)-mostExemplars):]
	}
	if !l.form.Classic {
		return
	}
	for _, mark := range marks {
		at := l.classicOf(mark.GetValue())
		if at == len(h.Bucket) { // beyond the last bound: that bucket is there only for its exemplar
			h.Bucket = append(h.Bucket, &dto.Bucket{
				UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: proto.Uint64(h.GetSampleCount()),
			})
		}
		h.Bucket[at].Exemplar = mark
	}
}

// ServeHTTP answers with the slow journeys as JSON, those of docs/schema.json's
// "journeys", the latest first; with ?id= only that one.
func (j *Journeys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all := j.list(r.URL.Query().Get("id"))
	w.Header().Set("Content-Type", "application/json")
	if len(all) == 0 && r.URL.Query().Has("id") {
		w.WriteHeader(http.StatusNotFound)
	}
	_ = document.EncodeJourneys(w, all, document.Options{Indent: true}) // else the client has gone
}

func (j *Journeys) list(id string) []tracer.Journey {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []tracer.Journey
	for _, one := range slices.Backward(j.last) {
		if id == "" || id == journeyID(one.journey.ID) {
			all = append(all, one.journey)
		}
	}
	return all
}
