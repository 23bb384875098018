package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// setting is a field or flag as one version knows it.
type setting struct {
	component, sort, name, kind string
	// field is the one that a flag sets.
	field        string
	isDeprecated bool
	// text is what the component itself says of a flag's deprecation.
	text   string
	goName string
}

// span is a setting over the versions in which it is the same.
type span struct {
	setting
	first, last, deprecated int // deprecated: from which version on; 0 for not
}

type table struct{ spans []*span }

// insert adds a setting of one version; versions come in order.
func (t *table) insert(minor int, found setting) {
	for _, known := range t.spans {
		is := known.component == found.component && known.sort == found.sort && known.name == found.name
		isWithdrawn := known.deprecated != 0 && !found.isDeprecated
		if is && known.kind == found.kind && known.last >= minor-1 && !isWithdrawn {
			known.last = minor
			if known.deprecated == 0 && found.isDeprecated {
				known.deprecated = minor
			}
			if found.field != "" {
				known.field = found.field
			}
			if found.text != "" {
				known.text = found.text
			}
			return
		}
	}
	made := &span{setting: found, first: minor, last: minor}
	if found.isDeprecated {
		made.deprecated = minor
	}
	t.spans = append(t.spans, made)
}

func (t *table) write(out io.Writer) {
	sort.SliceStable(t.spans, func(i, j int) bool {
		a, b := t.spans[i], t.spans[j]
		for _, order := range []int{
			strings.Compare(a.component, b.component), strings.Compare(a.sort, b.sort), strings.Compare(a.name, b.name),
		} {
			if order != 0 {
				return order < 0
			}
		}
		return a.first < b.first
	})
	for _, one := range t.spans {
		deprecated, field := "-", "-"
		if one.deprecated != 0 {
			deprecated = fmt.Sprint(one.deprecated)
		}
		if one.field != "" {
			field = one.field
		}
		text := "-"
		if one.text != "" {
			text = one.text
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n",
			one.component, one.sort, one.name, one.kind, one.first, one.last, deprecated, field, text)
	}
}
