# bench/peers/report.awk: medians of what bench/peers/run measured; see report.
#
# Reads the files "values" (figure, contestant, turn, value), "contestants", and
# one of: "figures" (prints the lines of the table), "required" (prints what is
# required, and whether it is met).

function sorted(values, n,   i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && values[j - 1] > values[j]; j--) {
			t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
		}
	return values[int((n + 1) / 2)]
}

function median(figure, contestant,   list, n, turn) {
	for (turn = 1; turn <= turns; turn++)
		if ((figure, contestant, turn) in value)
			list[++n] = value[figure, contestant, turn]
	return n ? sorted(list, n) : ""
}

# of the ratios of a to b, turn by turn; where one was measured once, to that
function ratio(figure, a, other, b,   list, n, turn, of) {
	for (turn = 1; turn <= turns; turn++)
		if ((figure, a, turn) in value) {
			of = (other, b, turn) in value ? value[other, b, turn] : value[other, b, 1]
			if (of > 0)
				list[++n] = value[figure, a, turn] / of
		}
	return n ? sorted(list, n) : ""
}

function grouped(n,   s, tail) {
	if (n < 10 && n != int(n))
		return sprintf("%.2f", n)
	s = sprintf("%.0f", n)
	while (length(s) > 3) {
		tail = "," substr(s, length(s) - 2) tail
		s = substr(s, 1, length(s) - 3)
	}
	return s tail
}

FILENAME ~ /values$/ {
	value[$1, $2, $3] = $4 + 0
	if ($3 > turns)
		turns = $3
	next
}

FILENAME ~ /contestants$/ {
	key[++contestants] = $1
	name[$1] = $2
	order[$1] = $3
	once[$1] = $4
	next
}

function over_commits(contestant) {
	if (contestant ~ /^(insert|fspl)$/)
		return "–"
	if (contestant ~ /^spool/)
		return contestant ~ /_(none|timestamp|latest)$/ ? "no" : kept("spool")
	return kept(contestant ~ /^pgmq/ ? "pgmq" : contestant)
}

function kept(contestant) {
	return ("commits", contestant, 1) in value ? (value["commits", contestant, 1] ? "yes" : "no") : "?"
}

FILENAME ~ /figures$/ {
	for (i = 1; i <= contestants; i++) {
		who = key[i]
		m = median($1, who)
		if (m == "")
			continue
		r = ratio($1, who, $1, $3)
		ordered = order[who]
		# named queues keep it, several jobs at once do not
		if (who == "graphile_worker" && $1 ~ /streams/)
			ordered = "yes"
		if (who == "pg_boss" && $1 == "worker")
			ordered = "no"
		print $4, name[who], grouped(m) " " $2, who == $3 ? "1" : r == "" ? "–" : sprintf("%.2f", r), ordered, over_commits(who), once[who]
	}
}

# text, figure, contestant, other figure, other contestant, least or most, ratio
FILENAME ~ /required$/ {
	if (median($2, $3) == "")
		next
	r = ratio($2, $3, $4, $5)
	bad = r == "" || ($6 == "most" ? r > $7 : r < $7)
	printf "%-62s %6s %s %-4s %s\n", $1, r == "" ? "none" : sprintf("%.2f", r), $6 == "most" ? "<=" : ">=", $7, bad ? "MISS" : "met"
}
