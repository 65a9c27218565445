// SPDX-License-Identifier: Apache-2.0

package main

import (
	stdjson "encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"
)

// checkExemplars: a server has slow journeys beside the latencies, longer than
// what makes them slow, and the exporter still knows the latest of them by id.
func checkExemplars(t *testing.T, exporter string, p *promServer, job string) {
	t.Helper()
	now := time.Now()
	at := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	form := url.Values{
		"query": {`{__name__=~"vethtrace_path_latency_seconds.*",job="` + job + `"}`},
		"start": {at(now.Add(-10 * time.Minute))}, "end": {at(now.Add(time.Minute))},
	}
	var answer struct {
		Status, Error string
		Data          []struct {
			SeriesLabels map[string]string
			Exemplars    []struct {
				Labels    map[string]string
				Value     string
				Timestamp float64
			}
		}
	}
	getJSON(t, "http://"+p.address+"/api/v1/query_exemplars?"+form.Encode(), &answer)
	var latest float64
	var id string
	for _, series := range answer.Data {
		for _, one := range series.Exemplars {
			took, err := strconv.ParseFloat(one.Value, 64)
			if err != nil || took < slowEnough.Seconds() || one.Labels["journey_id"] == "" {
				t.Errorf("%s: an exemplar of %s s, %v", job, one.Value, one.Labels)
			}
			if one.Timestamp > latest {
				latest, id = one.Timestamp, one.Labels["journey_id"]
			}
		}
	}
	if id == "" {
		t.Fatalf("%s: no exemplar: %s %s", job, answer.Status, answer.Error)
	}
	var journeys struct {
		Journeys []struct{ ID uint64 }
	}
	getJSON(t, "http://"+exporter+"/journeys?id="+id, &journeys)
	if len(journeys.Journeys) != 1 || strconv.FormatUint(journeys.Journeys[0].ID, 10) != id {
		t.Errorf("%s: journey %s is %v", job, id, journeys)
	}
}

func getJSON(t *testing.T, page string, into any) {
	t.Helper()
	response, err := http.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := stdjson.Unmarshal(body, into); err != nil {
		t.Fatalf("%s: %d %v: %s", page, response.StatusCode, err, body)
	}
}
