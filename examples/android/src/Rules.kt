package gmme.edge

import org.json.JSONArray
import org.json.JSONObject

private const val LONGEST_S = 1e9 // at any rate it is a whole number of samples in 64 bits

/** One label's rule: docs/reference/streaming.md, section 4. Left out, or null in JSON: the default. */
class Rule(json: JSONObject) {
    val on = number(json, "on") ?: 0.5
    val off = number(json, "off") ?: 0.7 * on
    val minDurationS = number(json, "min_duration_s") ?: 0.0
    val mergeGapS = number(json, "merge_gap_s") ?: 0.0
    val maxDurationS = number(json, "max_duration_s")
    val refractoryS = number(json, "refractory_s") ?: 0.0
    val smoothingS = number(json, "smoothing_s") ?: 0.0

    init {
        require(off > 0 && off <= on && on <= 1) { "a rule needs 0 < off <= on <= 1" }
        val durations = listOf(minDurationS, mergeGapS, refractoryS, smoothingS, maxDurationS ?: 0.0)
        require(durations.all { it >= 0 && it <= LONGEST_S }) { "a rule's durations are 0 to 1e9 s" }
        require(maxDurationS == null || maxDurationS > 0 && maxDurationS >= minDurationS) {
            "a rule's longest duration is above its shortest"
        }
    }
}

private fun number(json: JSONObject, name: String): Double? =
    if (json.isNull(name)) null else json.getDouble(name)

/** The rule for all labels and what differs for some, as `EventRules.to_dict()` in Python writes it. */
class EventRules(json: JSONObject = JSONObject()) {
    private val common = Rule(json)
    private val perLabel = (json.optJSONObject("per_label") ?: JSONObject()).let { rules ->
        rules.keys().asSequence().map { it to Rule(rules.getJSONObject(it)) }.toMap()
    }
    private val allow = strings(json.optJSONArray("allow"))
    private val deny = strings(json.optJSONArray("deny"))

    /** The rule of a label; null: it makes no events. */
    fun of(label: String): Rule? {
        val allowed = (allow.isEmpty() || label in allow) && label !in deny
        return if (allowed) perLabel[label] ?: common else null
    }

    internal fun check(labels: List<String>) {
        for (name in allow + deny + perLabel.keys) {
            require(name in labels) { "the rules name \"$name\", which the network does not have" }
        }
    }
}

internal fun strings(json: JSONArray?): List<String> =
    if (json == null) emptyList() else (0 until json.length()).map { json.getString(it) }
