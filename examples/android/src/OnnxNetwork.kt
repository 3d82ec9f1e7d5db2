package gmme.edge

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer

/**
 * A bundle's graph in ONNX Runtime, on one thread of the CPU.
 *
 * @param scratch a folder of the app's own: a graph may read its weights from a file beside it.
 */
class OnnxNetwork(bundle: Bundle, scratch: File, precision: String = "fp32") : Network {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession

    init {
        val graph = bundle.checked("model", precision)
            ?: throw BundleException("the bundle has no precision $precision")
        for (file in listOfNotNull(graph, bundle.checked("weights"))) {
            File(scratch, file.name).writeBytes(file.content)
        }
        val options = OrtSession.SessionOptions().also { it.setIntraOpNumThreads(1) }
        session = environment.createSession(File(scratch, graph.name).path, options)
    }

    override fun logits(window: FloatArray): FloatArray {
        val shape = longArrayOf(1, window.size.toLong())
        val input = OnnxTensor.createTensor(environment, FloatBuffer.wrap(window), shape)
        try {
            val outputs = session.run(mapOf("waveform" to input), setOf("logits"))
            try {
                val logits = (outputs.get(0) as OnnxTensor).floatBuffer
                return FloatArray(logits.remaining()).also { logits.get(it) }
            } finally {
                outputs.close()
            }
        } finally {
            input.close()
        }
    }

    override fun close() = session.close()
}
