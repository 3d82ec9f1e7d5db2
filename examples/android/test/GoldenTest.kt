package gmme.edge

import android.test.InstrumentationTestCase

/** On the device: the shipped bundle computes there what it must, and a changed byte is noticed. */
class GoldenTest : InstrumentationTestCase() {
    private val app get() = instrumentation.targetContext

    private fun read(name: String): ByteArray =
        app.assets.open("bundle/$name").use { it.readBytes() }

    fun testGoldenVectorsAgree() {
        val bundle = Bundle(::read)
        Classifier(bundle, OnnxNetwork(bundle, app.cacheDir)).use { assertTrue(it.goldenError < 1e-5) }
    }

    fun testAChangedByteIsNoticed() {
        val bundle = Bundle { name ->
            read(name).also { if (name.endsWith(".onnx")) it[it.size / 2]++ }
        }
        try {
            OnnxNetwork(bundle, app.cacheDir)
        } catch (error: BundleException) {
            return
        }
        fail("a changed byte went through")
    }
}
