package gmme.edge

import java.io.File
import kotlin.math.abs
import kotlin.math.sin
import kotlin.system.exitProcess
import org.json.JSONArray
import org.json.JSONObject

// What of the app needs no device, run on a desktop:
//   vectors FILE           the stream's test vectors
//   vectors --stream       a random stream of the tests: JSON on stdin, events on stdout
//   vectors --files BUNDLE DIFFERENCE   hashes, and the golden check of a network that is off by so much

fun main(words: Array<String>) = try {
    when (words[0]) {
        "--stream" -> println(stream(JSONObject(System.`in`.bufferedReader().readText())))
        "--files" -> println(files(File(words[1]), words[2].toFloat()))
        else -> vectors(JSONObject(File(words[0]).readText()))
    }
} catch (error: Exception) {
    System.err.println("error: ${error.message}")
    exitProcess(2)
}

private fun vectors(all: JSONObject) {
    val outcomes = objects(all.getJSONArray("events")).map { it.getString("name") to agrees(it) } +
        Pair("gate", gateAgrees(all.getJSONObject("gate")))
    val failed = outcomes.filterNot { it.second }
    failed.forEach { println("differs: ${it.first}") }
    println("${outcomes.size - failed.size} passed, ${failed.size} failed")
    if (failed.isNotEmpty()) exitProcess(1)
}

private fun agrees(case: JSONObject): Boolean {
    val grid = grid(case)
    val tracker = Tracker(strings(case.getJSONArray("labels")), grid, EventRules(case.getJSONObject("rules")))
    val total = case.getLong("total_samples")
    val rows = case.getJSONArray("probabilities")
    val starts = case.getJSONArray("window_starts")
    val found = ArrayList<Event>()
    for (i in 0 until rows.length()) {
        val (from, next) = grid.cell(i)
        val whole = i < grid.wholeWindows(total)
        if ((if (whole) grid.start(i) else grid.tail(total)) != starts.getLong(i)) return false
        val row = if (rows.isNull(i)) null else doubles(rows.getJSONArray(i))
        found += tracker.hear(from, if (whole) next else total, row, i)
    }
    found += tracker.finish(total)
    val expected = objects(case.getJSONArray("events"))
    return found.size == expected.size && found.zip(expected).all { (a, b) -> same(json(a), b) }
}

private fun same(a: JSONObject, b: JSONObject) = a.length() == b.length() && b.keys().asSequence().all {
    val (x, y) = Pair(a.get(it), b.get(it))
    if (x is Number && y is Number) abs(x.toDouble() - y.toDouble()) < 1e-9 else x == y
}

private fun gateAgrees(case: JSONObject): Boolean {
    val gate = ActivityGate(case.getInt("sample_rate_hz"))
    val sound = noiseAndTone(case.getInt("samples"))
    val frames = case.getJSONArray("frames")
    return gate.size == case.getInt("frame_samples") && (0 until frames.length()).all { i ->
        val expected = frames.getJSONArray(i)
        val frame = sound.copyOfRange(i * gate.size, (i + 1) * gate.size)
        val found = gate.measure(DoubleArray(gate.size) { frame[it].toDouble() })
        gate.hear(frame)
        abs(found.excessDb - expected.getDouble(0)) < 2e-3 &&
            abs(found.fromFlatDb - expected.getDouble(1)) < 2e-3 &&
            gate.isOpen(i.toLong() * gate.size) == expected.getBoolean(2)
    }
}

/** The sound of the gate's vectors, as docs/reference/streaming.md states it. */
private fun noiseAndTone(samples: Int): FloatArray {
    var state = 1L
    return FloatArray(samples) {
        state = (1_664_525 * state + 1_013_904_223) and 0xffff_ffff
        val tone = if (it >= 3 * samples / 4) 0.2 * sin(0.3 * it) else 0.0
        (0.01 * (state / 2147483648.0 - 1) + tone).toFloat()
    }
}

private fun stream(case: JSONObject): JSONObject {
    val rules = EventRules(case.getJSONObject("rules"))
    val labels = listOf("mean", "top", "bottom")
    val stream = Stream(
        labels, grid(case), case.getInt("input_hz"), ::level, rules, case.getBoolean("gate")
    )
    val channels = case.getInt("channels")
    val steps = case.getJSONArray("steps")
    val events = (0 until steps.length()).flatMap {
        val step = steps.get(it)
        if (step is JSONArray) stream.push(mono(doubles(step), channels))
        else stream.skip((step as Number).toInt())
    } + stream.flush()
    return JSONObject().put("events", JSONArray(events.map(::json)))
        .put("windows", stream.windows).put("computed", stream.computed)
}

private fun mono(samples: DoubleArray, channels: Int) = FloatArray(samples.size / channels) { i ->
    ((0 until channels).sumByDouble { samples[i * channels + it] } / channels).toFloat()
}

/** A network that hears every sample: the mean and the extremes of a window. */
private fun level(window: FloatArray): DoubleArray {
    val mean = window.sumByDouble { abs(it).toDouble() / window.size }
    return doubleArrayOf(2 * mean, window.max()!!.toDouble(), -window.min()!!.toDouble())
        .map { it.coerceIn(0.0, 1.0) }.toDoubleArray()
}

/** Answers the golden logits in turn, off by a share of the largest. */
private class Recorded(golden: Matrix, private val difference: Float) : Network {
    private val width = golden.shape[1]
    private val rows = golden.values.asList().chunked(width).iterator()
    private val scale = golden.values.map { abs(it) }.max()!!

    override fun logits(window: FloatArray): FloatArray {
        val row = rows.next()
        return FloatArray(width) { row[it] + difference * scale }
    }

    override fun close() = Unit
}

private fun files(folder: File, difference: Float): JSONObject {
    val bundle = Bundle { File(folder, it).readBytes() }
    bundle.checked("model", "fp32")
    bundle.checked("weights")
    val network = Recorded(bundle.golden().getValue("logits"), difference)
    return JSONObject().put("relative_error", Classifier(bundle, network).goldenError)
}

private fun json(event: Event) = JSONObject()
    .put("kind", "event").put("label", event.label)
    .put("start_s", event.startS).put("end_s", event.endS)
    .put("start_sample", event.startSample).put("end_sample", event.endSample)
    .put("sample_rate_hz", event.sampleRateHz)
    .put("peak", event.peak).put("mean", event.mean)
    .put("first_window", event.firstWindow).put("last_window", event.lastWindow)
    .put("windows", event.windows)

private fun grid(case: JSONObject) =
    Grid(case.getInt("sample_rate_hz"), case.getInt("window_samples"), case.getInt("hop_us"))

private fun objects(list: JSONArray) = (0 until list.length()).map { list.getJSONObject(it) }

private fun doubles(list: JSONArray) = DoubleArray(list.length()) { list.getDouble(it) }
