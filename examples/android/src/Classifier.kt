package gmme.edge

import java.io.Closeable
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.max

/** What computes: ONNX Runtime in the app, something simple in a test. */
interface Network : Closeable {
    /** The logits of one window. */
    fun logits(window: FloatArray): FloatArray
}

/** A bundle's network, held to its golden vectors before it answers. */
class Classifier(bundle: Bundle, private val network: Network, precision: String = "fp32") :
    Closeable by network {
    val labels = bundle.labels
    val sampleRateHz = bundle.sampleRateHz
    val window = bundle.window

    /** The largest error of a logit against torch's, relative to the largest of them. */
    val goldenError: Double

    init {
        val golden = bundle.golden()
        val waves = golden["waveform"]?.values ?: FloatArray(0)
        val found = (0 until waves.size / window).flatMap {
            logits(waves.copyOfRange(it * window, (it + 1) * window)).asList()
        }
        goldenError = relativeError(found, golden["logits"]?.values)
        val own = golden["logits.$precision"]
        val repeat = if (own == null) 0.0 else relativeError(found, own.values)
        val repeatLimit = mapOf("fp32" to 1e-3, "fp16" to 1e-2)[precision] ?: 0.1
        // Written so that an error that is not a number fails.
        if (!(goldenError <= bundle.limit(precision)) || !(repeat <= repeatLimit)) {
            throw BundleException("the outputs differ from the golden vectors: error $goldenError")
        }
    }

    /** Probabilities of one window at the network's rate, one per label. */
    fun probabilities(window: FloatArray): DoubleArray {
        val logits = logits(window)
        val top = logits.max()!!.toDouble()
        val powers = DoubleArray(logits.size) { exp(logits[it] - top) }
        val sum = powers.sum()
        return DoubleArray(powers.size) { powers[it] / sum }
    }

    private fun logits(window: FloatArray): FloatArray {
        val peak = window.fold(0f) { most, x -> max(most, abs(x)) }
        // Above this the network's own scaling would underflow.
        val scaled = if (peak <= 1 shl 20) window else FloatArray(window.size) { window[it] / peak }
        return network.logits(scaled)
    }
}

private fun relativeError(found: List<Float>, expected: FloatArray?): Double {
    if (expected == null || found.isEmpty() || found.size != expected.size) return Double.NaN
    val errors = expected.indices.map { abs(found[it].toDouble() - expected[it]) }
    val largest = errors.fold(0.0) { most, error -> if (error <= most) most else error }
    return largest / expected.fold(1e-12) { most, x -> max(most, abs(x.toDouble())) }
}
