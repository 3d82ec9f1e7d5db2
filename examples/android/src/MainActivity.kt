package gmme.edge

import android.Manifest
import android.app.Activity
import android.content.pm.PackageManager
import android.os.Bundle as State
import android.widget.ScrollView
import android.widget.TextView
import java.util.Locale
import kotlin.concurrent.thread

/** Asks for the microphone and shows what the bundle in the assets hears, while it is on screen. */
class MainActivity : Activity() {
    private lateinit var text: TextView
    @Volatile private var listening = false
    private var worker: Thread? = null

    override fun onCreate(state: State?) {
        super.onCreate(state)
        text = TextView(this)
        setContentView(ScrollView(this).also { it.addView(text) })
    }

    override fun onStart() {
        super.onStart()
        val granted = checkSelfPermission(Manifest.permission.RECORD_AUDIO)
        if (granted == PackageManager.PERMISSION_GRANTED) listen()
        else requestPermissions(arrayOf(Manifest.permission.RECORD_AUDIO), 0)
    }

    override fun onRequestPermissionsResult(code: Int, names: Array<String>, results: IntArray) {
        if (results.firstOrNull() == PackageManager.PERMISSION_GRANTED) listen()
        else show("It hears nothing without the microphone.")
    }

    override fun onStop() {
        listening = false
        worker?.join()
        worker = null
        super.onStop()
    }

    private fun listen() {
        if (worker != null) return
        listening = true
        worker = thread {
            try {
                hear()
            } catch (error: Exception) { // of the bundle, the runtime, the microphone: all are shown
                show("$error")
            }
        }
    }

    private fun hear() {
        val bundle = openBundle(assets)
        Classifier(bundle, OnnxNetwork(bundle, cacheDir)).use { classifier ->
            show("Golden vectors agree: ${classifier.goldenError}")
            Microphone().use { microphone ->
                val grid = Grid(classifier.sampleRateHz, classifier.window)
                val classify = classifier::probabilities
                val stream = Stream(classifier.labels, grid, microphone.rateHz, classify)
                while (listening) stream.push(microphone.read()).forEach(::tell)
                stream.flush().forEach(::tell)
            }
        }
    }

    private fun tell(event: Event) = show(
        String.format(Locale.ROOT, "%.2f to %.2f s  %s  %.0f%%",
            event.startS, event.endS, event.label, 100 * event.peak)
    )

    private fun show(line: String) = runOnUiThread { text.append(line + "\n") }
}
