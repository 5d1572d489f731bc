package config

import (
	"fmt"
	"regexp"
	"strings"
)

// region is how AWS builds its region names: partition area, for some a second word, a direction, a number. New regions
// follow it, so that they need no new version of this program.
var region = regexp.MustCompile(`^[a-z]{2,4}(-(gov|isoa?|isob|isoe|isof|de))?-(central|north|south|east|west|northeast|northwest|southeast|southwest)-[1-9][0-9]?$`)

// regions are those that exist at the time of writing (AWS account management reference, "AWS Regions"): what a mistyped name
// was probably meant to be.
var regions = strings.Fields(`
	us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 ca-west-1 mx-central-1 sa-east-1
	eu-central-1 eu-central-2 eu-west-1 eu-west-2 eu-west-3 eu-north-1 eu-south-1 eu-south-2 eusc-de-east-1
	ap-east-1 ap-east-2 ap-south-1 ap-south-2 ap-northeast-1 ap-northeast-2 ap-northeast-3
	ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
	me-south-1 me-central-1 il-central-1 af-south-1 cn-north-1 cn-northwest-1 us-gov-east-1 us-gov-west-1`)

// zone is an availability zone, a letter after the region: a frequent mistake.
var zone = regexp.MustCompile(`^(.*[0-9])[a-z]$`)

func checkRegion(s string) string {
	if region.MatchString(s) {
		return ""
	}
	if s == "" {
		return "is empty; write the stream's region, such as us-east-1"
	}
	if m := zone.FindStringSubmatch(s); m != nil && region.MatchString(m[1]) {
		return fmt.Sprintf("%q is an availability zone; write its region, %s", s, m[1])
	}
	if near := nearest(strings.ToLower(s), regions); near != "" {
		return fmt.Sprintf("%q is not an AWS region name; write it as %s", s, near)
	}
	return fmt.Sprintf("%q is not an AWS region name; write it like us-east-1", s)
}
