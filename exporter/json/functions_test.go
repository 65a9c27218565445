package json

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
)

// Functions of a hop are in the document, as the schema says, and come back.
func TestFunctions(t *testing.T) {
	s := sample.Snapshot()
	hop := &s.Targets[0].Paths[0].Hops[0]
	own := s.Targets[0].Paths[0].Hops[1].Latency
	own.Null, own.Rounds = tracer.Null{}, nil
	hop.Own = &own
	hop.Functions = []tracer.Function{
		{Name: "nf_nat_inet_fn", SinceNs: 12.5, Inclusive: own, Exclusive: own},
		{Name: "ipt_do_table/nat", Depth: 1, SinceNs: 99, Inclusive: own, Exclusive: own},
	}
	s.Detail, s.Observer.CallsLost = tracer.DetailFunctions, 7
	raw := encoded(t, s)
	if err := validate(t, schema(t), raw); err != nil {
		t.Fatal(err)
	}
	back, err := Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	got := back.Targets[0].Paths[0].Hops[0]
	if !reflect.DeepEqual(got.Functions, hop.Functions) || !reflect.DeepEqual(got.Own, hop.Own) {
		t.Errorf("functions came back as %+v, own %+v", got.Functions, got.Own)
	}
	if back.Observer.CallsLost != 7 || back.Detail != tracer.DetailFunctions {
		t.Errorf("%d calls lost, detail %s", back.Observer.CallsLost, back.Detail)
	}
}
