package json

import (
	"slices"

	"github.com/vethtrace/vethtrace/tracer"
)

func decodeUnpredicted(d unpredicted) (tracer.Unpredicted, error) {
	u := tracer.Unpredicted{Path: d.Path, Packets: d.Packets, After: d.After, Seen: d.Seen}
	u.Predicted = append(u.Predicted, slices.Clone(d.Predicted)...)
	return u, nil
}

func decodeUnseen(d unseen) (tracer.Unseen, error) {
	dir, err := direction(d.Direction)
	return tracer.Unseen{Direction: dir, Device: d.Device, Peer: d.Peer, Packets: d.Packets}, err
}
