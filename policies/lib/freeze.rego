# When nothing may be changed: on some weekdays, and in windows with a beginning and an end (UTC).
package lib.freeze

import rego.v1

# It concerns this request at all.
concerned if {
	input.request.method in data.freeze.methods
	data.lib.ids.local.environment in data.freeze.environments
	exempt == false
}

# Answers true or false, never nothing: so no `not` is needed where it is asked.
default exempt := false

exempt if data.lib.ids.peer.service in data.freeze.exempt

reasons contains {"code": "frozen", "message": message} if {
	concerned
	input.time.weekday in data.freeze.weekdays
	message := concat("", ["no changes on a ", input.time.weekday])
}

reasons contains {"code": "frozen", "message": message} if {
	concerned
	some name, window in data.freeze.windows
	input.time.unix_minute >= minute(window.from)
	input.time.unix_minute < minute(window.to)
	message := concat("", ["no changes during ", name])
}

minute(text) := floor(time.parse_rfc3339_ns(text) / 60000000000)
